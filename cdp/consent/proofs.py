"""What a person who was erased had said of consent, kept to prove that what was done was lawful.

Invariants: it is no part of the ledger any more, so nothing is decided by it and no read finds it; it lies
sealed under the person's ``proof`` key, and is gone with that key when its time is over (GDPR Art. 17(3)(e)).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from cdp.consent import queries
from cdp.consent.model import Record
from cdp.crypto import Keyring, Place, open_sealed, seal
from cdp.store import Batch, Connection

_decode = msgspec.json.Decoder(Record).decode


class Proofs:
    """Keeps the records of people who were erased."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._place = Place(keyring.workspace, "consent_proofs", "sealed").prefix()
        self._evidence = Place(keyring.workspace, "consent_records", "sealed").prefix()

    def take(self, batch: Batch, identity_nos: Collection[int], *, keep: bool) -> int:
        """Take every record of identities out of the ledger; returns how many there were.

        :param keep: seal them away as proof. Of whoever has no proof key any more nothing is kept.
        """
        if keep:
            keys = self._keyring.openable(identity_nos, "proof")
            records = queries.records_of(batch.connection, keys)
            rows = [
                (
                    one.record_id,
                    one.identity_no,
                    seal(
                        keys[one.identity_no],
                        self._place,
                        one.record_id.to_bytes(8),
                        one.identity_no,
                        msgspec.json.encode(one),
                    ),
                )
                for one in sorted(records, key=lambda one: one.record_id)
            ]
            queries.add_proofs(batch.connection, rows)
        return queries.forget(batch.connection, identity_nos)

    def of(self, connection: Connection, identity_nos: Collection[int]) -> list[tuple[Record, bytes | None]]:
        """Return (record, its evidence) of all that is kept; the caller records the use."""
        keys = self._keyring.openable(identity_nos, "proof")
        found = []
        for record_id, number, sealed in queries.proofs(connection, identity_nos):
            if (key := keys.get(number)) is not None:
                row_key = record_id.to_bytes(8)
                record = _decode(open_sealed(key, self._place, row_key, number, sealed))
                held = record.sealed
                proof = None if held is None else open_sealed(key, self._evidence, row_key, number, held)
                found.append((record, proof))
        return found

    def end(self, batch: Batch, identity_nos: Iterable[int]) -> int:
        """Delete what is kept of identities, whose keys the caller destroys; returns how many records."""
        return queries.drop_proofs(batch.connection, identity_nos)
