"""packed: what one process prepared, for the process that stores it. Pure.

Invariants: what is unpacked stores the same rows, records and rejects as what was packed. The messages
themselves stay with whoever asked, and what classification made of their contents is not carried twice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

import msgspec

from cdp.clock import Micros
from cdp.consent import Statement
from cdp.ingest.model import (
    Classified,
    Delivery,
    Event,
    EventType,
    Indexed,
    Message,
    Prepared,
    Reject,
    RejectReason,
    Trait,
)


class _Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An ``Indexed``; ``place`` is that of its message in the delivery."""

    place: int
    event_id: bytes
    day: int
    type: EventType
    name: str
    identifiers: tuple[tuple[str, str], ...]
    occurred_at: Micros
    stamped_at: Micros
    clear: bytes | None
    sealed: bytes | None
    indexes: tuple[bytes, ...]
    traits: tuple[Trait, ...] = ()
    statements: tuple[Statement, ...] = ()
    signed: bool | None = None
    unnamed: frozenset[str] = frozenset()
    earlier: tuple[tuple[int, str], ...] = ()
    earlier_indexes: tuple[tuple[int, bytes], ...] = ()
    also: tuple[_Row, ...] = ()


class _Rejected(msgspec.Struct, frozen=True, array_like=True, gc=False):
    place: int
    reason: RejectReason
    cause: str
    heard: _Row | None
    kept: bool


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """What became of one delivery; it holds clear personal data."""

    events: list[_Row]
    rejects: list[_Rejected]


def pack(prepared: Prepared) -> Packed:
    """Return what was made of one delivery."""
    return Packed(
        [_row(item) for item in prepared.events],
        [
            _Rejected(
                _place(reject.message),
                reject.reason,
                reject.cause,
                None if reject.heard is None else _row(reject.heard),
                reject.kept,
            )
            for reject in prepared.rejects
        ],
    )


def unpack(held: Packed, delivery: Delivery, generation: int) -> Prepared:
    """Return what was packed of ``delivery``.

    :param generation: under which policies it was prepared, as ``Prepared`` counts them.
    """
    messages = delivery.each()
    return Prepared(
        [_indexed(row, messages[row.place]) for row in held.events],
        [
            Reject(
                message := messages[reject.place],
                reject.reason,
                reject.cause,
                None if reject.heard is None else _indexed(reject.heard, message),
                reject.kept,
            )
            for reject in held.rejects
        ],
        generation,
        received=Counter({delivery.sender: len(messages)}),
    )


def _place(message: Message) -> int:
    delivery = message.delivery
    if delivery.nonces:
        return bisect_left(delivery.nonces, message.nonce)
    return message.nonce - delivery.nonce


def _row(item: Indexed) -> _Row:
    classified = item.classified
    event = classified.event
    return _Row(
        _place(event.message),
        event.event_id,
        event.day,
        event.type,
        event.name,
        event.identifiers,
        event.occurred_at,
        event.stamped_at,
        classified.clear,
        classified.sealed,
        item.indexes,
        classified.traits,
        event.statements,
        event.signed,
        event.unnamed,
        event.earlier,
        item.earlier,
        tuple(map(_row, item.also)),
    )


def _indexed(row: _Row, message: Message) -> Indexed:
    event = Event(
        message=message,
        event_id=row.event_id,
        day=row.day,
        type=row.type,
        name=row.name,
        identifiers=row.identifiers,
        occurred_at=row.occurred_at,
        stamped_at=row.stamped_at,
        properties={},
        traits={},
        context={},
        rest={},
        statements=row.statements,
        signed=row.signed,
        earlier=row.earlier,
        unnamed=row.unnamed,
    )
    also = tuple(_indexed(word, message) for word in row.also) if row.also else ()
    return Indexed(
        Classified(event, row.clear, row.sealed, row.traits), row.indexes, row.earlier_indexes, also
    )
