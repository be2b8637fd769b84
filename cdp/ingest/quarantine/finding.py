"""Finding failed messages of somebody: by index, not by opening every row.

Each row has the keyed hash of every term of its message (``terms.py``), under a key made of its bucket's:
hashes of two days have nothing in common, and die with what they find. Who is looked for is hashed under the
key of each bucket that is still there; what that finds is opened, in memory, and what names somebody else is
let go. A row whose message is no JSON, or has too many texts, stands under ``OPAQUE``: opened for everybody.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from cdp.access import Source
from cdp.clock import Clock, Micros
from cdp.consent import Statement
from cdp.crypto import Dek, Keyring, Place, derive, open_sealed, seal
from cdp.errors import KeyAccessError, SealError
from cdp.ingest.model import Reject, RejectKind, RejectReason
from cdp.ingest.name import held, readable
from cdp.ingest.quarantine import queries
from cdp.ingest.quarantine.terms import message_terms, sought, texts
from cdp.ingest.sources.surrogates import hidden
from cdp.store import Connection, Row, Store, chunks

Normalise = Callable[[str, str, str | None], str | None]
OPAQUE = b""
"""Stands for the terms of a message whose terms nobody can tell."""
_PAGE = 1_000
_BETWEEN = re.compile(r"[\s\"'\\,;:{}\[\]<>()=&]+")


class QuarantineItem(msgspec.Struct, frozen=True, kw_only=True):
    """One quarantined message, without its content."""

    quarantine_id: int
    source_id: int
    kind: RejectKind
    reason: RejectReason
    cause: str
    received_at: Micros


class Kept(msgspec.Struct, frozen=True, array_like=True):
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
    form: str = ""


class Finder:
    """Opens quarantined messages, and finds those of somebody."""

    def __init__(self, store: Store, keyring: Keyring, clock: Clock) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._prefix = Place(keyring.workspace, "quarantine", "sealed").prefix()

    def messages_of(
        self,
        connection: Connection,
        wanted: Collection[tuple[str, str]],
        normalise: Normalise,
        sources: Mapping[int, Source],
        most: int,
    ) -> tuple[list[tuple[QuarantineItem, bytes]], bool]:
        """Return the messages that name one of these identifiers, as they were sent, and whether that is all.

        One that cannot be read, or opened any more, names nobody.

        :param wanted: (type, normalised value).
        :param normalise: (type, value, region) → the normalised value, None for what identifies nobody.
        :param most: open so many at most; there may be more.
        """
        found: list[tuple[QuarantineItem, bytes]] = []
        keys: dict[str, Dek | None] = {}
        numbers = self._may_name(connection, (value for _, value in wanted)) if wanted else []
        for row in queries.quarantine_rows(connection, numbers[:most]):
            if row.replayed_at is not None or (dek := self._key_of(row.bucket, keys)) is None:
                continue
            with suppress(SealError):
                kept, source = self._kept(row, dek), sources.get(int(row.source_id))
                kinds = {kind for kind, _ in wanted}
                given = _named(kept, kinds, trusted=source is not None and source.kind != "browser")
                region = None if source is None else source.default_region
                if any((kind, normalise(kind, value, region)) in wanted for kind, value in given):
                    found.append((item_of(row), kept.raw))
        return found, len(numbers) <= most

    def telling(self, names: Callable[[str], bool], values: Iterable[str] | None) -> list[int]:
        """Return the rows in which somebody is named, replayed ones included.

        :param names: returns whether a text, of whatever place in a message, names them.
        :param values: their identifiers, normalised; None where nobody can tell them: every row is opened.
        """
        with self._store.reading() as connection:
            if values is None:
                numbers = queries.every_quarantined(connection)
            else:
                numbers = self._may_name(connection, values)
        found: list[int] = []
        deks: dict[str, Dek | None] = {}
        for page in chunks(numbers, _PAGE):
            with self._store.reading() as connection:
                rows = list(queries.quarantine_rows(connection, page))
            found += [
                int(row.quarantine_id)
                for row in rows
                if (dek := self._dek(row.bucket, deks)) is not None and self._names(row, dek, names)
            ]
        return found

    def _may_name(self, connection: Connection, values: Iterable[str]) -> list[int]:
        """Return the rows that may name somebody known by these values, ascending."""
        wanted = {term for value in values for term in sought(value)}
        hashed, deks = {OPAQUE}, dict[str, Dek | None]()
        for bucket in queries.buckets(connection):
            if (dek := self._key_of(bucket, deks)) is not None:
                hashed |= _hashed(index_key(dek), wanted)
        return queries.indexed(connection, sorted(hashed))

    def _sealed(self, dek: Dek, key: bytes, number: int, reject: Reject) -> tuple[bytes, Iterable[bytes]]:
        """Return a reject as it is kept: sealed, and the hashes of its terms.

        :param key: ``index_key`` of its bucket.
        """
        delivery = reject.message.delivery
        kept = Kept(
            reject.message.raw,
            delivery.type,
            delivery.sent_at,
            delivery.context,
            delivery.statements,
            delivery.identifiers,
            delivery.sec_gpc,
            reject.message.nonce,
            delivery.address,
            delivery.form,
        )
        sealed = seal(dek, self._prefix, number.to_bytes(8), 0, msgspec.msgpack.encode(kept))
        said, named = _read(kept.raw), [value for _, value in kept.identifiers]
        found = None if said is None else message_terms(said, kept.context, named)
        return sealed, (OPAQUE,) if found is None else _hashed(key, found)

    def _kept(self, row: Row[Any], dek: Dek) -> Kept:
        plain = open_sealed(dek, self._prefix, int(row.quarantine_id).to_bytes(8), 0, row.sealed)
        return msgspec.msgpack.decode(plain, type=Kept)

    def _key_of(self, bucket: str, deks: dict[str, Dek | None]) -> Dek | None:
        """Return the key of a bucket; None where it is over, lost or altered."""
        try:
            return self._dek(bucket, deks)
        except KeyAccessError:
            deks[bucket] = None
            return None

    def _dek(self, bucket: str, deks: dict[str, Dek | None]) -> Dek | None:
        """Return the key of a bucket; None where its time is over."""
        if bucket not in deks:
            gone = bucket < self._keyring.oldest("quarantine") or self._keyring.destroyed_buckets([bucket])
            deks[bucket] = None if gone else self._keyring.bucket(bucket)
        return deks[bucket]

    def _names(self, row: Row[Any], dek: Dek, names: Callable[[str], bool]) -> bool:
        kept = self._kept(row, dek)
        said = _read(kept.raw)
        if said is None:
            said = _words(kept.raw.decode(errors="replace"))
        return any(map(names, texts((said, kept.context, [value for _, value in kept.identifiers]))))


def item_of(row: Row[Any]) -> QuarantineItem:
    """Return what is clear of a row."""
    return QuarantineItem(
        quarantine_id=int(row.quarantine_id),
        source_id=int(row.source_id),
        kind=row.kind,
        reason=row.reason,
        cause=row.cause,
        received_at=int(row.received_at),
    )


def index_key(dek: Dek) -> bytes:
    """Return the key of the terms in a bucket."""
    return derive(dek.key, b"cdp/quarantine-index/v1")


def _hashed(key: bytes, terms: Collection[str]) -> set[bytes]:
    """Return the keyed hash of each term: 64 bits, since whatever is found is opened."""
    return {hmac.digest(key, term.encode(errors="replace"), "sha256")[:8] for term in terms}


def _named(kept: Kept, kinds: Collection[str], *, trusted: bool) -> list[tuple[str, str]]:
    """Return every (type, value) that a message names, as far as it can be read.

    :param kinds: what any text of a message of another form may be, as nobody knows here what its texts are.
    """
    body = _read(kept.raw)
    if kept.form:
        found = _words(kept.raw.decode(errors="replace")) if body is None else texts(body)
        return [(kind, text) for text in found for kind in kinds]
    if not isinstance(body, dict):
        return list(kept.identifiers)
    context = {**held(kept.context), **held(body.get("context"))}
    kind = body.get("type", kept.type)
    given = readable(body, "alias" if kind == "alias" else "identify", context, trusted=trusted)
    return [*kept.identifiers, *((type_, value) for type_, value in given if value)]


def _words(text: str) -> Sequence[str]:
    """Return the pieces of what is no JSON that may be identifiers."""
    return [text, *_BETWEEN.split(text)]


def _read(raw: bytes) -> Any:
    """Return what a message says, half characters as others; None where it is no JSON, or says nothing."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(raw)
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(hidden(raw)[0])
    return None
