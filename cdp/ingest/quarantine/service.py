"""What could not become an event: kept with its cause, sealed, replayable, never lost without a count.

A row is sealed under the bucket key of its day (it has no identity whose key it could use), which is
destroyed when the quarantine's retention ends; ``finding.py`` finds rows of somebody. One that is replayed is
claimed, stored and marked in one transaction: it is replayed once, or it waits.

What waits of what was ever quarantined is counted where it goes: whatever takes a row out (``discarded``,
``expired``, ``erased``, a replay) says so in the counts of its source and day.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from cdp.access import Source
from cdp.clock import DAY, Clock, Micros, SteadyClock, random_id, rfc3339
from cdp.crypto import Dek, Keyring
from cdp.errors import KeyAccessError, NotFoundError, SealError, UnavailableError
from cdp.ingest.model import Delivery, Reject
from cdp.ingest.quarantine import queries
from cdp.ingest.quarantine.finding import Finder, QuarantineItem, index_key, item_of
from cdp.ingest.queries import add_counts
from cdp.ingest.validate import looks_personal
from cdp.store import Batch, Row, Store

_DAYS = 400
_MOST_PLACES = 500
_DEEPEST = 8
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]{0,63}")
_LONG_NUMBER = re.compile(r"\d{5}")
_TYPES = {bool: "boolean", int: "number", float: "number", type(None): "null"}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which quarantined messages are meant; what is not said is not asked.

    :param since: received at or after; ``until``: before.
    :param ids: only these; None for any.
    """

    kind: str = ""
    reason: str = ""
    source_id: int | None = None
    since: Micros | None = None
    until: Micros | None = None
    ids: tuple[int, ...] | None = None


class Waiting(msgspec.Struct, frozen=True):
    """How many messages wait, of one kind and reason of one source, and since when."""

    kind: str
    reason: str
    source_id: int
    messages: int
    oldest: Micros


class Quarantine(Finder):
    """Keeps rejects and gives them back for replay."""

    def __init__(self, store: Store, keyring: Keyring, clock: Clock) -> None:
        super().__init__(store, keyring, clock)
        self._steady = SteadyClock(clock)
        self._bucket: tuple[str, Dek, bytes] | None = None

    # -- in ---------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Fetch the bucket key of the day; call it before the batch's transaction."""
        now = self._steady.latest()
        if self._bucket is None or self._bucket[0] != _named_for(now):
            name, dek = self._open(now)
            self._bucket = (name, dek, index_key(dek))

    def _open(self, day: Micros) -> tuple[str, Dek]:
        """Return the bucket of a day; where its key is destroyed, for the clock was set back, a later one."""
        for name in (_named_for(day + ahead * DAY) for ahead in range(_DAYS)):
            if not self._keyring.destroyed_buckets([name]):
                return name, self._keyring.bucket(name)
        raise KeyAccessError(
            "the clock is so far behind that the keys of quarantine are destroyed; set it right"
        )

    def add(self, batch: Batch, rejects: Sequence[Reject]) -> int:
        """Store rejects in this batch; returns how many lie there now.

        One that was claimed for a replay goes back, with the cause that it has now.
        """
        kept = [one for one in rejects if one.kept]
        back = [one for one in kept if one.message.delivery.row is not None]
        new = kept if not back else [one for one in kept if one.message.delivery.row is None]
        if new and self._bucket is None:
            self.prepare()
        rows, terms = [], []
        for number, reject in enumerate(new, random_id()):
            bucket, dek, key = self._bucket  # type: ignore[misc]  # prepare() has set it
            sealed, found = self._sealed(dek, key, number, reject)
            delivery, why = reject.message.delivery, (reject.kind, reject.reason, reject.cause)
            source_id, at = delivery.source.source_id, delivery.received_at
            rows.append((number, batch.id, source_id, *why, at, bucket, sealed))
            terms += [(term, number) for term in found]
        queries.add_quarantined(batch.connection, rows, terms)
        failed = [(one.message.delivery.row, one.kind, one.reason, one.cause) for one in back]
        return len(rows) + queries.put_back(batch.connection, sorted(failed))

    # -- what lies there --------------------------------------------------------------------------

    def items(self, limit: int = 100, after: int = 0, wanted: Wanted | None = None) -> list[QuarantineItem]:
        """Return quarantined messages not yet replayed, oldest first, without their content."""
        with self._store.reading() as connection:
            return [item_of(row) for row in queries.quarantined(connection, limit, after, wanted or Wanted())]

    def waiting(self, wanted: Wanted) -> list[Waiting]:
        """Return how many messages wait, by kind, reason and source; the most first."""
        with self._store.reading() as connection:
            return [Waiting(*row) for row in queries.waiting(connection, wanted)]

    def shape(self, quarantine_id: int) -> tuple[QuarantineItem, list[tuple[str, str, int | None]]]:
        """Return one message that waits: why, and (place, type, size) of all that is in it; no value.

        A size is in characters, items or fields, of what is no JSON in bytes. The name of a field that may
        be personal itself is left out.

        :raises NotFoundError: it is not there (any more).
        :raises UnavailableError: it cannot be opened.
        """
        with self._store.reading() as connection:
            found = queries.quarantined(connection, 1, 0, Wanted(ids=(quarantine_id,)))
        if not found:
            raise NotFoundError("there is no such message in quarantine")
        (row,) = found
        dek = self._key_of(row.bucket, {})
        if dek is None:
            raise UnavailableError("the key of its day is destroyed, lost or altered")
        try:
            raw = self._kept(row, dek).raw
        except SealError:
            raise UnavailableError("the row was altered: it cannot be opened") from None
        try:
            said = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return item_of(row), [("", "no JSON", len(raw))]
        places: list[tuple[str, str, int | None]] = []
        _shape(said, "", 0, places)
        return item_of(row), places

    # -- out --------------------------------------------------------------------------------------

    def take(
        self, limit: int, after: int, wanted: Wanted, sources: Mapping[int, Source]
    ) -> list[tuple[QuarantineItem, Delivery | None]]:
        """Open quarantined messages for replay, each as the delivery of its own that it then is.

        :param sources: by number; a message of a source that is not among them, or that cannot be opened,
            comes as None.
        """
        with self._store.reading() as connection:
            rows = queries.quarantined(connection, limit, after, wanted)
        deks: dict[str, Dek | None] = {}
        return [(item_of(row), self._opened(row, sources.get(int(row.source_id)), deks)) for row in rows]

    def _opened(self, row: Row[Any], source: Source | None, deks: dict[str, Dek | None]) -> Delivery | None:
        dek = self._key_of(row.bucket, deks)
        if source is None or dek is None:
            return None
        try:
            kept = self._kept(row, dek)
        except SealError:
            return None
        number = int(row.quarantine_id)
        return Delivery(
            source=source,
            messages=(kept.raw,),
            received_at=int(row.received_at),
            type=kept.type,
            sent_at=kept.sent_at,
            context=kept.context,
            statements=kept.statements,
            identifiers=kept.identifiers,
            sec_gpc=kept.sec_gpc,
            replayed_at=self._clock.now(),
            nonce=number if kept.nonce is None else kept.nonce,
            address=kept.address,
            form=kept.form,
            row=number,
        )

    def claim(self, batch: Batch, quarantine_ids: Iterable[int]) -> set[int]:
        """Mark messages as replayed in this batch; returns those that nobody took out before."""
        return queries.claim(batch.connection, sorted(quarantine_ids), self._clock.now())

    def discard(self, batch: Batch, wanted: Wanted, most: int) -> int:
        """Delete up to ``most`` of the messages that wait, the oldest first; returns how many."""
        rows = queries.quarantined(batch.connection, most, 0, wanted)
        return self.drop(batch, [int(row.quarantine_id) for row in rows], "discarded")

    @staticmethod
    def drop(batch: Batch, quarantine_ids: Collection[int], why: str = "erased") -> int:
        """Delete rows in this batch, with what finds them; returns how many of them waited."""
        gone = queries.drop_quarantined(batch.connection, quarantine_ids)
        return _leave(batch, gone, why)

    def forget(self, batch: Batch) -> int:
        """Delete, in this batch, what lies in buckets past their retention; returns how much that was."""
        gone, count = queries.forget_quarantined(batch.connection, self._keyring.oldest("quarantine"))
        _leave(batch, gone, "expired")
        return count


def _named_for(day: Micros) -> str:
    return f"quarantine/{rfc3339(day)[:10]}"


def _leave(batch: Batch, gone: Counter[tuple[int, int]], why: str) -> int:
    """Count what waited and is gone, by (source, day)."""
    rows = [(batch.id, day, source_id, why, count) for (source_id, day), count in sorted(gone.items())]
    add_counts(batch.connection, rows)
    return gone.total()


def _shape(said: Any, place: str, depth: int, found: list[tuple[str, str, int | None]]) -> None:
    if len(found) >= _MOST_PLACES:
        return
    if isinstance(said, dict):
        found.append((place, "object", len(said)))
        for name, value in said.items() if depth < _DEEPEST else ():
            shown = name if _is_fit(name) else "…"
            _shape(value, f"{place}.{shown}" if place else shown, depth + 1, found)
    elif isinstance(said, list):
        found.append((place, "list", len(said)))
        for value in said if depth < _DEEPEST else ():
            _shape(value, f"{place}[]", depth + 1, found)
    elif isinstance(said, str):
        found.append((place, "string", len(said)))
    else:
        found.append((place, _TYPES.get(type(said), "number"), None))


def _is_fit(name: str) -> bool:
    """True for a name that is nobody's address or number."""
    return _NAME.fullmatch(name) is not None and not looks_personal(name) and not _LONG_NUMBER.search(name)
