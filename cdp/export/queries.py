"""Reads and writes of the outbox and of webhook endpoints."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, delete, func, select, update

from cdp.clock import DAY, Micros
from cdp.export.model import Endpoint, Message, MessageCount
from cdp.export.tables import outbox, webhook_endpoints
from cdp.store import insert_many, lock_rows, upsert

_O = outbox.c
_W = webhook_endpoints.c
_LONGEST = 2 * DAY
_WAITING = ("queued", "sent", "failed")

# -- the outbox -------------------------------------------------------------------------------------


def add_messages(connection: Connection, batch: int, messages: Sequence[Message]) -> None:
    """Store messages."""
    columns = ("batch", *Message.__struct_fields__)
    insert_many(connection, outbox, columns, [(batch, *msgspec.structs.astuple(one)) for one in messages])


def due_messages(connection: Connection, destination: str, now: Micros, limit: int) -> list[Message]:
    """Return messages to send now, the longest due first."""
    query = _messages().where(_O.destination == destination, _O.state == "queued", _is_due(now))
    return [_message(row) for row in connection.execute(query.order_by(_O.next_attempt_at).limit(limit))]


def claim(
    connection: Connection, message_ids: Collection[str], now: Micros, next_attempt_at: Micros
) -> set[str]:
    """Count an attempt; returns the messages that nobody else claimed.

    Whoever claimed and died leaves the message to the next one.
    """
    statement = (
        update(outbox)
        .where(_O.message_id.in_(sorted(message_ids)), _O.state == "queued", _is_due(now))
        .values(attempts=_O.attempts + 1, next_attempt_at=next_attempt_at)
    )
    return set(connection.execute(statement.returning(_O.message_id)).scalars())


def mark_sent(connection: Connection, message_ids: Collection[str], now: Micros) -> None:
    """Record that the endpoint took messages; an acknowledgement may have come before."""
    connection.execute(
        update(outbox)
        .where(_O.message_id.in_(sorted(message_ids)), _O.state == "queued")
        .values(state="sent", sent_at=now, last_error="")
    )


def mark_refused(connection: Connection, message_id: str, error: str, next_attempt_at: Micros | None) -> None:
    """Record that an attempt failed; without a next one the message has."""
    values: dict[str, Any] = {"last_error": error}
    values |= {"state": "failed"} if next_attempt_at is None else {"next_attempt_at": next_attempt_at}
    connection.execute(update(outbox).where(_O.message_id == message_id, _O.state == "queued").values(values))


def requeue(connection: Connection, destination: str, now: Micros) -> None:
    """Let messages that wait or have failed start over."""
    connection.execute(
        update(outbox)
        .where(_O.destination == destination, _O.state.in_(("queued", "failed")), _O.payload.is_not(None))
        .values(state="queued", attempts=0, next_attempt_at=now)
    )


def waiting(connection: Connection, destination: str, after: str, limit: int) -> list[Message]:
    """Return messages that are not acknowledged and can still be read, by id."""
    query = _messages().where(
        _O.destination == destination,
        _O.state.in_(_WAITING),
        _O.payload.is_not(None),
        _O.message_id > after,
    )
    return [_message(row) for row in connection.execute(query.order_by(_O.message_id).limit(limit))]


def waiting_ids(connection: Connection) -> list[str]:
    """Return the ids of all messages that are not acknowledged and can still be read."""
    query = select(_O.message_id).where(_O.state.in_(_WAITING), _O.payload.is_not(None))
    return list(connection.execute(query.order_by(_O.message_id)).scalars())


def lock_messages(connection: Connection, destination: str, message_ids: Collection[str]) -> list[Message]:
    """Lock and return those of these messages that are the destination's."""
    query = _messages().where(_O.destination == destination, _O.message_id.in_(sorted(message_ids)))
    return [_message(row) for row in connection.execute(lock_rows(query.order_by(_O.message_id)))]


def mark_acknowledged(connection: Connection, message_ids: Collection[str], now: Micros) -> None:
    """Record that messages are done; their payload goes."""
    connection.execute(
        update(outbox)
        .where(_O.message_id.in_(sorted(message_ids)))
        .values(state="acknowledged", acknowledged_at=now, payload=None)
    )


def expired(connection: Connection, now: Micros, limit: int) -> list[str]:
    """Return messages whose time is over and whose payload is still there."""
    query = select(_O.message_id).where(_O.expires_at <= now, _O.payload.is_not(None)).limit(limit)
    return list(connection.execute(query).scalars())


def expire(connection: Connection, message_ids: Collection[str]) -> None:
    """Let messages fail whose time is over; their payload goes."""
    connection.execute(
        update(outbox)
        .where(_O.message_id.in_(sorted(message_ids)))
        .values(state="failed", payload=None, last_error="expired")
    )


def count_messages(connection: Connection, now: Micros, destination: str | None = None) -> list[MessageCount]:
    """Return messages and people by destination and state, and how many of them are late."""
    is_late = (_O.deadline < now) & _O.state.in_(_WAITING)
    query = (
        select(_O.destination, _O.state, is_late, func.count(), func.sum(_O.people), func.min(_O.created_at))
        .group_by(_O.destination, _O.state, is_late)
        .order_by(_O.destination, _O.state, is_late)
    )
    if destination is not None:
        query = query.where(_O.destination == destination)
    return [
        MessageCount(
            destination=row[0],
            state=row[1],
            late=bool(row[2]),
            messages=int(row[3]),
            people=int(row[4]),
            oldest=int(row[5]),
        )
        for row in connection.execute(query)
    ]


def _messages() -> Any:
    return select(*(_O[name] for name in Message.__struct_fields__))


def _is_due(now: Micros) -> ColumnElement[bool]:
    """Due, or put off for longer than anything is: when that was, a clock was ahead."""
    return (_O.next_attempt_at <= now) | (_O.next_attempt_at > now + _LONGEST)


def _message(row: Row[Any]) -> Message:
    return Message(**dict(zip(Message.__struct_fields__, row, strict=True)))


# -- endpoints --------------------------------------------------------------------------------------


def endpoints(connection: Connection, destination: str | None = None) -> list[Endpoint]:
    """Return every endpoint, or that of one destination."""
    query = select(*(_W[name] for name in Endpoint.__struct_fields__)).order_by(_W.destination)
    if destination is not None:
        query = query.where(_W.destination == destination)
    return [
        Endpoint(**dict(zip(Endpoint.__struct_fields__, row, strict=True)))
        for row in connection.execute(query)
    ]


def put_endpoint(connection: Connection, batch: int, endpoint: Endpoint) -> None:
    """Store an endpoint."""
    row = {"batch": batch, **msgspec.structs.asdict(endpoint)}
    upsert(connection, webhook_endpoints, [row], ("destination",))


def drop_endpoint(connection: Connection, destination: str) -> bool:
    """Delete an endpoint; returns whether there was one."""
    gone = connection.execute(delete(webhook_endpoints).where(_W.destination == destination))
    return gone.rowcount > 0
