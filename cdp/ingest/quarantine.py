"""What could not become an event: kept with its cause, sealed, replayable, never lost without a count.

A row is sealed under the bucket key of its day (it has no identity whose key it could use), which is
destroyed when the quarantine's retention ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from cdp.access import Source
from cdp.clock import DAY, Clock, Micros, SteadyClock, random_id, rfc3339
from cdp.consent import Statement
from cdp.crypto import Dek, Keyring, Place, open_sealed, seal
from cdp.errors import KeyAccessError, SealError
from cdp.ingest import queries
from cdp.ingest.model import Delivery, Reject, RejectKind, RejectReason
from cdp.ingest.name import held, readable
from cdp.store import Batch, Connection, Row, Store

Normalise = Callable[[str, str, str | None], str | None]

_PAGE = 1_000
_DAYS = 400
_BETWEEN = re.compile(r"[\s\"'\\,;:{}\[\]<>()=&]+")


class QuarantineItem(msgspec.Struct, frozen=True, kw_only=True):
    """One quarantined message, without its content."""

    quarantine_id: int
    source_id: int
    kind: RejectKind
    reason: RejectReason
    cause: str
    received_at: Micros


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed: the message, and everything of its delivery that goes for it."""

    raw: bytes
    type: str
    sent_at: Any
    context: Any
    statements: tuple[Statement, ...]
    identifiers: tuple[tuple[str, str], ...]
    sec_gpc: bool = False
    nonce: int | None = None  # rows of earlier versions have none: their own number serves
    address: str = ""


class Quarantine:
    """Keeps rejects and gives them back for replay."""

    def __init__(self, store: Store, keyring: Keyring, clock: Clock) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._steady = SteadyClock(clock)
        self._prefix = Place(keyring.workspace, "quarantine", "sealed").prefix()
        self._bucket: tuple[str, Dek] | None = None

    def prepare(self) -> None:
        """Fetch the bucket key of the day; call it before the batch's transaction."""
        now = self._steady.latest()
        if self._bucket is None or self._bucket[0] != _named_for(now):
            self._bucket = self._open(now)

    def _open(self, day: Micros) -> tuple[str, Dek]:
        """Return the bucket of a day; where its key is destroyed, for the clock was set back, a later one."""
        for name in (_named_for(day + ahead * DAY) for ahead in range(_DAYS)):
            if not self._keyring.destroyed_buckets([name]):
                return name, self._keyring.bucket(name)
        raise KeyAccessError(
            "the clock is so far behind that the keys of quarantine are destroyed; set it right"
        )

    def add(self, batch: Batch, rejects: Sequence[Reject]) -> None:
        """Store rejects in this batch; one that was taken out for replay lies there already."""
        rejects = [one for one in rejects if one.kept and one.message.delivery.replayed_at is None]
        if not rejects:
            return
        if self._bucket is None:
            self.prepare()
        bucket, dek = self._bucket  # type: ignore[misc]  # prepare() has set it
        rows = []
        for number, reject in enumerate(rejects, random_id()):
            delivery = reject.message.delivery
            kept = _Kept(
                reject.message.raw,
                delivery.type,
                delivery.sent_at,
                delivery.context,
                delivery.statements,
                delivery.identifiers,
                delivery.sec_gpc,
                reject.message.nonce,
                delivery.address,
            )
            sealed = seal(dek, self._prefix, number.to_bytes(8), 0, msgspec.msgpack.encode(kept))
            source_id, at, why = (
                delivery.source.source_id,
                delivery.received_at,
                (reject.reason, reject.cause),
            )
            rows.append((number, batch.id, source_id, reject.kind, *why, at, bucket, sealed))
        queries.add_quarantined(batch.connection, rows)

    def items(self, limit: int = 100, after: int = 0, kind: str = "") -> list[QuarantineItem]:
        """Return quarantined messages not yet replayed, oldest first, without their content."""
        with self._store.reading() as connection:
            return [_item(row) for row in queries.quarantined(connection, limit, after, kind)]

    def take(
        self, limit: int, after: int, kind: str, sources: Mapping[int, Source]
    ) -> list[tuple[QuarantineItem, Delivery | None]]:
        """Open quarantined messages for replay, each as the delivery of its own that it then is.

        :param sources: by number; a message of a source that is not among them comes as None.
        """
        with self._store.reading() as connection:
            rows = queries.quarantined(connection, limit, after, kind)
        return [(_item(row), self._opened(row, sources.get(int(row.source_id)))) for row in rows]

    def _opened(self, row: Row[Any], source: Source | None) -> Delivery | None:
        if source is None:
            return None
        number, kept = int(row.quarantine_id), self._kept(row, self._keyring.bucket(row.bucket))
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
        )

    def messages_of(
        self,
        connection: Connection,
        wanted: Collection[tuple[str, str]],
        normalise: Normalise,
        sources: Mapping[int, Source],
        most: int,
    ) -> tuple[list[tuple[QuarantineItem, bytes]], bool]:
        """Return the messages that name one of these identifiers, as they were sent, and whether that is all.

        Whose a message is stands in it alone, so each is opened, in memory, and all but these are let go. One
        that cannot be read, or opened any more, names nobody.

        :param wanted: (type, normalised value).
        :param normalise: (type, value, region) → the normalised value, None for what identifies nobody.
        :param most: look at so many at most; there may be more.
        """
        found: list[tuple[QuarantineItem, bytes]] = []
        keys: dict[str, Dek] = {}
        after = looked = 0
        while wanted and looked < most:
            rows = queries.quarantined(connection, min(_PAGE, most - looked), after)
            if not rows:
                return found, True
            after, looked = int(rows[-1].quarantine_id), looked + len(rows)
            for row in rows:
                with suppress(SealError, KeyAccessError):
                    if row.bucket not in keys:
                        keys[row.bucket] = self._keyring.bucket(row.bucket)
                    kept, source = self._kept(row, keys[row.bucket]), sources.get(int(row.source_id))
                    given = _named(kept, trusted=source is not None and source.kind != "browser")
                    region = None if source is None else source.default_region
                    if any((kind, normalise(kind, value, region)) in wanted for kind, value in given):
                        found.append((_item(row), kept.raw))
        return found, not wanted

    def _kept(self, row: Row[Any], dek: Dek) -> _Kept:
        plain = open_sealed(dek, self._prefix, int(row.quarantine_id).to_bytes(8), 0, row.sealed)
        return msgspec.msgpack.decode(plain, type=_Kept)

    def telling(self, names: Callable[[str], bool]) -> list[int]:
        """Return the rows in which somebody is named, replayed ones included.

        :param names: returns whether a text, of whatever place in a message, names them.
        """
        found: list[int] = []
        after, deks = 0, dict[str, Dek | None]()
        while True:
            with self._store.reading() as connection:
                rows = queries.every_quarantined(connection, _PAGE, after)
            found += [
                int(row.quarantine_id)
                for row in rows
                if (dek := self._dek(row.bucket, deks)) is not None and self._names(row, dek, names)
            ]
            if len(rows) < _PAGE:
                return found
            after = int(rows[-1].quarantine_id)

    def _dek(self, bucket: str, deks: dict[str, Dek | None]) -> Dek | None:
        """Return the key of a bucket; None where its time is over."""
        if bucket not in deks:
            gone = bucket < self._keyring.oldest("quarantine") or self._keyring.destroyed_buckets([bucket])
            deks[bucket] = None if gone else self._keyring.bucket(bucket)
        return deks[bucket]

    def _names(self, row: Row[Any], dek: Dek, names: Callable[[str], bool]) -> bool:
        kept = self._kept(row, dek)
        try:
            said: Any = msgspec.json.decode(kept.raw)
        except msgspec.DecodeError:
            said = _words(kept.raw.decode(errors="replace"))
        return any(map(names, _texts((said, kept.context, [value for _, value in kept.identifiers]))))

    @staticmethod
    def drop(batch: Batch, quarantine_ids: Collection[int]) -> None:
        """Delete rows in this batch."""
        queries.drop_quarantined(batch.connection, quarantine_ids)

    def forget(self, batch: Batch) -> int:
        """Delete, in this batch, what lies in buckets past their retention; returns how much that was."""
        return queries.forget_quarantined(batch.connection, self._keyring.oldest("quarantine"))

    def mark_replayed(self, batch: Batch, quarantine_ids: Sequence[int]) -> None:
        """Mark messages as replayed in this batch."""
        queries.mark_replayed(batch.connection, quarantine_ids, self._clock.now())


def _named_for(day: Micros) -> str:
    return f"quarantine/{rfc3339(day)[:10]}"


def _named(kept: _Kept, *, trusted: bool) -> list[tuple[str, str]]:
    """Return every (type, value) that a message names, as far as it can be read."""
    try:
        body = msgspec.json.decode(kept.raw)
    except msgspec.DecodeError:
        body = None
    if not isinstance(body, dict):
        return list(kept.identifiers)
    context = {**held(kept.context), **held(body.get("context"))}
    kind = body.get("type", kept.type)
    given = readable(body, "alias" if kind == "alias" else "identify", context, trusted=trusted)
    return [*kept.identifiers, *((type_, value) for type_, value in given if value)]


def _item(row: Row[Any]) -> QuarantineItem:
    return QuarantineItem(
        quarantine_id=int(row.quarantine_id),
        source_id=int(row.source_id),
        kind=row.kind,
        reason=row.reason,
        cause=row.cause,
        received_at=int(row.received_at),
    )


def _texts(said: Any) -> Iterator[str]:
    """Yield every text in a value, keys included; a number as the text that an identifier may be."""
    waiting = [said]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            waiting += one.keys()
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, int | float):
            yield str(one)


def _words(text: str) -> list[str]:
    """Return the pieces of what is no JSON that may be identifiers."""
    return [text, *_BETWEEN.split(text)]
