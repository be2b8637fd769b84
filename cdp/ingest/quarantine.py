"""What could not become an event: kept with its cause, sealed, replayable, never lost without a count.

A row is sealed under the bucket key of its day (it has no identity whose key it could use), which is
destroyed when the quarantine's retention ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cdp.clock import Clock, Micros, random_id, rfc3339
from cdp.crypto import Dek, Keyring, Place, open_sealed, seal
from cdp.ingest import queries
from cdp.ingest.model import Reject, RejectKind
from cdp.store import Batch, Store


class QuarantineItem(msgspec.Struct, frozen=True, kw_only=True):
    """One quarantined message, without its content."""

    quarantine_id: int
    source_id: int
    kind: RejectKind
    cause: str
    received_at: Micros


class Quarantine:
    """Keeps rejects and gives them back for replay."""

    def __init__(self, store: Store, keyring: Keyring, clock: Clock) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._prefix = Place(keyring.workspace, "quarantine", "sealed").prefix()
        self._bucket: tuple[str, Dek] | None = None

    def prepare(self) -> None:
        """Fetch the bucket key of the day; call it before the batch's transaction."""
        name = f"quarantine/{rfc3339(self._clock.now())[:10]}"
        if self._bucket is None or self._bucket[0] != name:
            self._bucket = (name, self._keyring.bucket(name))

    def add(self, batch: Batch, rejects: Sequence[Reject]) -> None:
        """Store rejects in this batch."""
        if not rejects:
            return
        if self._bucket is None:
            self.prepare()
        bucket, dek = self._bucket  # type: ignore[misc]  # prepare() has set it
        rows = []
        for number, reject in enumerate(rejects, random_id()):
            delivery = reject.message.delivery
            envelope = msgspec.json.encode([delivery.type, delivery.sent_at, reject.message.raw])
            sealed = seal(dek, self._prefix, number.to_bytes(8), 0, envelope)
            source_id, at = delivery.source.source_id, delivery.received_at
            rows.append((number, batch.id, source_id, reject.kind, reject.cause, at, bucket, sealed))
        queries.add_quarantined(batch.connection, rows)

    def items(self, limit: int = 100, after: int = 0, kind: str = "") -> list[QuarantineItem]:
        """Return quarantined messages not yet replayed, oldest first, without their content."""
        with self._store.reading() as connection:
            rows = queries.quarantined(connection, limit, after, kind)
        return [
            QuarantineItem(
                quarantine_id=int(row.quarantine_id),
                source_id=int(row.source_id),
                kind=row.kind,
                cause=row.cause,
                received_at=int(row.received_at),
            )
            for row in rows
        ]

    def take(self, limit: int, after: int, kind: str = "") -> list[tuple[QuarantineItem, str, object, bytes]]:
        """Open quarantined messages for replay: (item, event type of the path, sentAt, raw bytes)."""
        with self._store.reading() as connection:
            rows = queries.quarantined(connection, limit, after, kind)
        taken = []
        for row in rows:
            number = int(row.quarantine_id)
            dek = self._keyring.bucket(row.bucket)
            plain = open_sealed(dek, self._prefix, number.to_bytes(8), 0, row.sealed)
            kind_, sent_at, raw = msgspec.json.decode(plain, type=tuple[str, object, bytes])
            item = QuarantineItem(
                quarantine_id=number,
                source_id=int(row.source_id),
                kind=row.kind,
                cause=row.cause,
                received_at=int(row.received_at),
            )
            taken.append((item, kind_, sent_at, raw))
        return taken

    def mark_replayed(self, batch: Batch, quarantine_ids: Sequence[int]) -> None:
        """Mark messages as replayed in this batch."""
        queries.mark_replayed(batch.connection, quarantine_ids, self._clock.now())
