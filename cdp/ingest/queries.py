"""Reads and writes of events, de-duplication keys and counts of what became of events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, literal, or_, select

from cdp.clock import DAY, Micros, random_id
from cdp.ingest.tables import event_key_days, event_keys, events, ingest_counts, quarantine
from cdp.store import (
    among,
    chunks,
    forget_rows,
    insert_many,
    insert_new,
    read_rows,
    upsert,
)

EVENT_COLUMNS = (
    "batch", "seq", "identity_no", "event_id", "source_id", "type", "name", "occurred_at",
    "received_at", "stamped_at", "properties", "sealed",
)  # fmt: skip
COUNT_COLUMNS = ("batch", "day", "source_id", "outcome", "events")


def claim_keys(
    connection: Connection, keys: Sequence[tuple[int, bytes]], batch: int, today: int
) -> set[bytes]:
    """Store the (day, event id) keys that are new and return their event ids.

    :param keys: sorted, without repeats.
    :param today: the current day number, the last insert of every day touched.
    """
    claims = [(day, event_id, batch) for day, event_id in keys]
    columns = ("day", "event_id", "batch")
    fresh = {bytes(row[0]) for row in insert_new(connection, event_keys, columns, claims, ("event_id",))}
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


def add_counts(connection: Connection, rows: Sequence[tuple[int, int, int, str, int]]) -> None:
    """Insert counts: (batch, day, source_id, outcome, events), none twice in a batch."""
    insert_many(connection, ingest_counts, COUNT_COLUMNS, rows)


def fold_counts(connection: Connection) -> int:
    """Put one row in the place of several that count the same; returns how many those were.

    Only what this call takes out is in the sum that it puts in, so two calls at once lose and double nothing.
    """
    c = ingest_counts.c
    of = (c.day, c.source_id, c.outcome)
    several = connection.execute(select(*of).group_by(*of).having(func.count() > 1).order_by(*of)).all()
    folded = 0
    for key in several:
        same = (column == value for column, value in zip(of, key, strict=True))
        taken = connection.execute(delete(ingest_counts).where(*same).returning(c.events)).scalars().all()
        if taken:
            add_counts(connection, [(random_id(), *key, sum(taken))])
        folded += len(taken)
    return folded


def counts(
    connection: Connection, source_id: int | None, first: int, last: int | None
) -> list[tuple[int, int, str, int]]:
    """Return (source_id, day, outcome, events), and under ``waiting`` what lies in quarantine."""
    c, q = ingest_counts.c, quarantine.c
    day = q.received_at // DAY
    counted = select(c.source_id, c.day, c.outcome, func.sum(c.events)).group_by(
        c.source_id, c.day, c.outcome
    )
    waits = select(q.source_id, day, literal("waiting"), func.count()).where(q.replayed_at.is_(None))
    waits = waits.group_by(q.source_id, day)
    found = []
    for query, source, on in ((counted, c.source_id, c.day), (waits, q.source_id, day)):
        narrowed = query.where(on >= first)
        if last is not None:
            narrowed = narrowed.where(on <= last)
        if source_id is not None:
            narrowed = narrowed.where(source == source_id)
        found += [
            (int(row[0]), int(row[1]), str(row[2]), int(row[3])) for row in connection.execute(narrowed)
        ]
    return found
