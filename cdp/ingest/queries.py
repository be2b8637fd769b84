"""Reads and writes of events, de-duplication keys and the quarantine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, or_, select, update

from cdp.clock import Micros
from cdp.ingest.tables import event_key_days, event_keys, events, quarantine
from cdp.store import (
    among,
    among_bytes,
    chunks,
    forget_rows,
    insert_ignoring,
    insert_many,
    read_rows,
    upsert,
)

EVENT_COLUMNS = (
    "batch", "seq", "identity_no", "event_id", "source_id", "type", "name", "occurred_at",
    "received_at", "stamped_at", "properties", "sealed",
)  # fmt: skip
QUARANTINE_COLUMNS = (
    "quarantine_id", "batch", "source_id", "kind", "reason", "cause", "received_at", "bucket", "sealed",
)  # fmt: skip


def claim_keys(
    connection: Connection, keys: Sequence[tuple[int, bytes]], batch: int, today: int
) -> set[bytes]:
    """Store the (day, event id) keys that are new and return their event ids.

    :param keys: sorted, without repeats.
    :param today: the current day number, the last insert of every day touched.
    """
    claims = [(day, event_id, batch) for day, event_id in keys]
    inserted = insert_ignoring(connection, event_keys, ("day", "event_id", "batch"), claims)
    fresh = {event_id for _, event_id in keys}
    if inserted < len(keys):
        k = event_keys.c
        for chunk in chunks(keys):
            held = select(k.event_id).where(
                among_bytes(connection, k.event_id, [event_id for _, event_id in chunk]),
                among(k.day, {day for day, _ in chunk}),
                k.batch != batch,
            )
            fresh.difference_update(bytes(row[0]) for row in connection.execute(held))
    days = {day for day, event_id in keys if event_id in fresh}
    d = event_key_days.c
    query = select(d.day).where(among(d.day, days), d.last_insert_on >= today)
    current = {int(row.day) for row in connection.execute(query)}
    # Only the first batch of a day writes the row: otherwise every writer would wait for the one before.
    rows = [{"day": day, "last_insert_on": today} for day in sorted(days - current)]
    upsert(connection, event_key_days, rows, ("day",))
    return fresh


def drop_key_days(connection: Connection, before: int) -> int:
    """Forget the keys of days whose last insert lies before day ``before``; returns days dropped."""
    query = select(event_key_days.c.day).where(event_key_days.c.last_insert_on < before)
    days = [int(row.day) for row in connection.execute(query)]
    for day in days:
        connection.execute(delete(event_keys).where(event_keys.c.day == day))
        connection.execute(delete(event_key_days).where(event_key_days.c.day == day))
    return len(days)


def add_events(connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Insert event rows (tuples in the order of ``EVENT_COLUMNS``)."""
    insert_many(connection, events, EVENT_COLUMNS, rows)


def forget_events(connection: Connection, identity_nos: Iterable[int]) -> int:
    """Delete every event of identities; returns how many. The keys that tell a repetition name nobody."""
    return forget_rows(connection, events.c.identity_no, identity_nos)


def timeline(
    connection: Connection,
    identity_nos: Collection[int],
    limit: int,
    before: tuple[Micros, Micros, bytes] | None,
) -> list[Row[Any]]:
    """Return events of these identities, newest first; of one instant the one received last.

    :param before: (occurred_at, received_at, event id) of the event after which they come.
    """
    e = events.c
    query = select(events).where(among(e.identity_no, identity_nos))
    if before is not None:
        at, received_at, event_id = before
        earlier = and_(e.received_at == received_at, e.event_id < event_id)
        tied = and_(e.occurred_at == at, or_(e.received_at < received_at, earlier))
        query = query.where(or_(e.occurred_at < at, tied))
    query = query.order_by(e.occurred_at.desc(), e.received_at.desc(), e.event_id.desc()).limit(limit)
    return list(connection.execute(query))


def event_times(connection: Connection, identity_nos: Iterable[int]) -> list[Micros]:
    """Return when each event of these identities occurred, the newest first."""
    e = events.c
    found: list[Micros] = []
    for chunk in chunks(identity_nos):
        query = select(e.occurred_at).where(among(e.identity_no, chunk))
        found += [at for (at,) in read_rows(connection, query)]
    return sorted(found, reverse=True)


def events_between(
    connection: Connection, identity_nos: Iterable[int], earliest: Micros, latest: Micros
) -> list[Row[Any]]:
    """Return the events of these identities that occurred from one instant to another, the newest first."""
    e = events.c
    found: list[Row[Any]] = []
    for chunk in chunks(identity_nos):
        query = select(events).where(among(e.identity_no, chunk), e.occurred_at.between(earliest, latest))
        found += connection.execute(query)
    return sorted(found, key=lambda row: (row.occurred_at, row.received_at, row.event_id), reverse=True)


def add_quarantined(connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Insert quarantine rows (tuples in the order of ``QUARANTINE_COLUMNS``)."""
    insert_many(connection, quarantine, QUARANTINE_COLUMNS, rows)


def quarantined(connection: Connection, limit: int, after: int, kind: str = "") -> list[Row[Any]]:
    """Return rows not yet replayed with an id above ``after``, oldest first."""
    query = select(quarantine).where(quarantine.c.replayed_at.is_(None), quarantine.c.quarantine_id > after)
    if kind:
        query = query.where(quarantine.c.kind == kind)
    return list(connection.execute(query.order_by(quarantine.c.quarantine_id).limit(limit)))


def forget_quarantined(connection: Connection, oldest: str) -> int:
    """Delete rows in buckets before ``oldest`` and return how many they were."""
    return connection.execute(delete(quarantine).where(quarantine.c.bucket < oldest)).rowcount


def drop_quarantined(connection: Connection, quarantine_ids: Collection[int]) -> None:
    """Delete rows."""
    for chunk in chunks(quarantine_ids):
        connection.execute(delete(quarantine).where(among(quarantine.c.quarantine_id, chunk)))


def every_quarantined(connection: Connection, limit: int, after: int) -> list[Row[Any]]:
    """Return rows with an id above ``after``, oldest first, replayed or not."""
    query = select(quarantine).where(quarantine.c.quarantine_id > after)
    return list(connection.execute(query.order_by(quarantine.c.quarantine_id).limit(limit)))


def mark_replayed(connection: Connection, quarantine_ids: Collection[int], now: Micros) -> None:
    """Mark rows as replayed."""
    connection.execute(
        update(quarantine).where(quarantine.c.quarantine_id.in_(quarantine_ids)).values(replayed_at=now)
    )
