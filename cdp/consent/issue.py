"""Issuing receipts of what the ledger holds.

Invariant: a receipt is given to an officer, and to the source whose word the record is; its issue is on
record with the person as subject, in the transaction that reads it.
"""

from __future__ import annotations

from typing import Any

from cdp.audit import AuditLog, Entry
from cdp.clock import Micros
from cdp.consent import queries, receipt
from cdp.consent.model import Record
from cdp.consent.service import ConsentLedger
from cdp.crypto import Keyring, Signer
from cdp.errors import NotFoundError
from cdp.store import Committer, Connection, erased, retrying


class ReceiptIssuer:
    """Makes signed receipts of consent records."""

    def __init__(
        self, committer: Committer, keyring: Keyring, ledger: ConsentLedger, audit: AuditLog
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._ledger = ledger
        self._audit = audit
        self._signer = Signer(keyring.secret(receipt.KEY))

    @property
    def public_key(self) -> bytes:
        """The 32 bytes that receipts verify under."""
        return self._signer.public_key

    def issue(self, actor: str, record_id: int, *, source_id: int | None = None) -> bytes:
        """Return the signed receipt of a record, canonical JSON.

        :param source_id: only a record of this source; any when None.
        :raises NotFoundError: there is no such record, or it is another source's.
        """
        return retrying(lambda: self._issue(actor, record_id, source_id))

    def _issue(self, actor: str, record_id: int, source_id: int | None) -> bytes:
        with self._committer.batch() as batch:
            connection = batch.connection
            found = queries.committed_record(connection, record_id)
            if (
                found is None
                or source_id not in {None, found[0].source_id}
                or _is_erased(connection, found[0])
            ):
                raise NotFoundError("there is no consent record with this id")
            record = found[0]
            made = self._composed(connection, *found)
            batch.record(
                Entry(
                    action="consent.receipt",
                    actor=actor,
                    purpose=record.purpose,
                    object={"record": record_id},
                    subjects=(record.identity_no,),
                )
            )
        return receipt.sign(made, self._signer)

    def made(self, connection: Connection, record_id: int) -> bytes:
        """Return the signed receipt of a record that there is, to go with others; the caller records that."""
        found = queries.committed_record(connection, record_id)
        if found is None:
            raise NotFoundError("there is no consent record with this id")
        return receipt.sign(self._composed(connection, *found), self._signer)

    def _composed(self, connection: Connection, record: Record, commit_no: int, at: Micros) -> dict[str, Any]:
        place = receipt.Place(
            origin=self._audit.key.name,
            commit_no=commit_no,
            index=self._audit.index_of(connection, commit_no, at),
            committed_at=at,
        )
        principal = self._principal(record.identity_no, record.record_id)
        purpose = self._ledger.purpose(record.purpose)
        return receipt.compose(record, purpose, self._ledger.controller, principal, place)

    def _principal(self, number: int, record_id: int) -> str:
        """Return by what a receipt refers to a person: nothing when erased, ``LOST`` without their key."""
        secret = self._keyring.proof_secrets([number]).get(number)
        if secret is not None:
            return receipt.reference(secret, record_id)
        return "" if self._keyring.destroyed([number], "proof") else receipt.LOST


def _is_erased(connection: Connection, record: Record) -> bool:
    return bool(erased(connection, (record.identity_no,)))
