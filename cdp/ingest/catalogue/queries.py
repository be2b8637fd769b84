"""Reads and writes of the data catalogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, select

from cdp.clock import Micros
from cdp.ingest.catalogue.model import EventShape, FieldShape
from cdp.ingest.catalogue.shapes import EventKey, Taken
from cdp.ingest.catalogue.tables import seen_events, seen_fields
from cdp.store import upsert

MOST_EVENTS, MOST_FIELDS = 500, 5_000
_EVENT = ("source_id", "type", "name")
_FIELD = ("source_id", "event_type", "event_name", "part", "name", "type")
_OF_ALL = ("context", "identifiers")
_Counts = Mapping[tuple[Any, ...], Mapping[str, int]]


def add(connection: Connection, tallies: Sequence[Taken], now: Micros) -> None:
    """Add counts; of a source there are at most so many events and fields, what comes later stays out."""
    events = {tally.key: {"seen": tally.seen, "looked_at": tally.looked_at} for tally in tallies}
    held = _add(connection, seen_events, _EVENT, events, now, MOST_EVENTS)
    fields = {
        (*tally.key, *field): {"seen": count}
        for tally in tallies
        if tally.key in held
        for field, count in tally.fields
    }
    _add(connection, seen_fields, _FIELD, fields, now, MOST_FIELDS)


def _add(
    connection: Connection, table: Table, keys: Sequence[str], added: _Counts, now: Micros, most: int
) -> set[tuple[Any, ...]]:
    """Add counts to the rows of a table, and return which rows there are now."""
    sources = {key[0] for key in added}
    query = select(table).where(table.c.source_id.in_(sources))
    held = {tuple(row[name] for name in keys): row for row in connection.execute(query).mappings()}
    room = Counter(key[0] for key in held)
    rows = []
    for key, counts in added.items():
        before = held.get(key)
        if before is None:
            if room[key[0]] >= most:
                continue
            room[key[0]] += 1
        totals = {name: count + (before[name] if before else 0) for name, count in counts.items()}
        times = {"first_seen_at": before["first_seen_at"] if before else now, "last_seen_at": now}
        rows.append(dict(zip(keys, key, strict=True)) | totals | times)
    upsert(connection, table, rows, keys)
    return {*held, *(tuple(row[name] for name in keys) for row in rows)}


def shapes_of(connection: Connection, source_id: int) -> list[EventShape]:
    """Return the events of a source with their fields, by type and name; all of them together first."""
    fields: dict[EventKey, dict[tuple[str, str], FieldShape]] = {}
    for row in connection.execute(select(seen_fields).where(seen_fields.c.source_id == source_id)):
        if not row.event_type and row.part not in _OF_ALL:
            continue  # counted by an earlier version, of whichever event
        held = fields.setdefault((row.source_id, row.event_type, row.event_name), {})
        held[row.part, row.name] = _with(held.get((row.part, row.name)), row)
    query = select(seen_events).where(seen_events.c.source_id == source_id)
    query = query.order_by(seen_events.c.type, seen_events.c.name)
    return [
        EventShape(
            type=row.type,
            name=row.name,
            seen=row.seen,
            looked_at=row.looked_at,
            first_seen_at=row.first_seen_at,
            last_seen_at=row.last_seen_at,
            fields=tuple(_in_order(fields.get((row.source_id, row.type, row.name), {}).values())),
        )
        for row in connection.execute(query)
    ]


def _with(held: FieldShape | None, row: Any) -> FieldShape:
    first, last, types = row.first_seen_at, row.last_seen_at, {row.type: row.seen}
    if held is not None:
        first, last = min(first, held.first_seen_at), max(last, held.last_seen_at)
        types = held.types | types
    return FieldShape(row.part, row.name, types, first, last)


def _in_order(fields: Iterable[FieldShape]) -> list[FieldShape]:
    return sorted(fields, key=lambda field: (field.part, field.name))


def values_of(connection: Connection) -> list[tuple[int, str, str, str, int, Micros]]:
    """Return (source_id, part, name, type, how often, when last) of traits and properties with a value."""
    f = seen_fields.c
    query = select(f.source_id, f.part, f.name, f.type, f.seen, f.last_seen_at).where(
        f.part.in_(("properties", "traits")), f.type != "null"
    )
    return [(row[0], row[1], row[2], row[3], row[4], row[5]) for row in connection.execute(query)]
