"""Reads and writes of the index of the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import Connection, delete, func, literal, select, union_all

from cdp.audit.asking.tables import audit_days, audit_instants, audit_postings, audit_spans
from cdp.audit.model import AuditFilter
from cdp.audit.tables import audit_entries, audit_head, audit_subjects
from cdp.clock import Micros
from cdp.errors import AuditError
from cdp.store import (
    Bytes,
    Number,
    among,
    insert_many,
    lock_table,
    read_numbers,
    read_rows,
    upsert,
)

FIELDS = ("actor", "action", "outcome", "purpose", "destination", "segment")
"""The search columns that have bitmaps."""
_NO_SPAN = -1


class Span(NamedTuple):
    """A run of entries that the index covers.

    :param first_at: the earliest instant in it, ``last_at`` the latest: clocks may be set back.
    """

    start: int
    width: int
    first_at: Micros
    last_at: Micros

    @property
    def end(self) -> int:
        """The index behind its last entry."""
        return self.start + self.width


class Row(NamedTuple):
    """What the index needs of an entry."""

    leaf_index: int
    at: Micros
    actor: str
    action: str
    outcome: str
    purpose: str
    destination: str
    segment: str | None
    references: int
    entry: bytes


Day = tuple[int, str, str, str, str]
"""(day, purpose, destination, action, outcome)"""


def opened(blob: bytes) -> BitMap:
    """Return a stored bitmap.

    :raises AuditError: it is none.
    """
    try:
        return BitMap.deserialize(blob)
    except (ValueError, IndexError):
        raise AuditError("the index of the audit log is damaged; run `cdp audit verify`") from None


def size(connection: Connection) -> int:
    """Return how many entries the log has."""
    return int(connection.execute(select(audit_head.c.size)).scalar_one())


def lock(connection: Connection) -> None:
    """Let nobody else change the index until the transaction ends."""
    lock_table(connection, audit_spans)


def spans(connection: Connection) -> list[Span]:
    """Return every span, in order."""
    query = select(audit_spans).order_by(audit_spans.c.start)
    return [Span(*map(int, row)) for row in read_rows(connection, query)]


def end(connection: Connection) -> int:
    """Return the index behind the last entry that a span covers."""
    query = select(audit_spans.c.start + audit_spans.c.width).order_by(audit_spans.c.start.desc()).limit(1)
    return int(connection.execute(query).scalar() or 0)


def read_index(
    connection: Connection, conditions: Sequence[tuple[str, str]]
) -> tuple[list[Span], list[dict[int, bytes]]]:
    """Return the spans, and for each (field, value) its bitmaps by the start of their span.

    One statement, so that what another process folds meanwhile is seen whole or not at all.
    """
    s, p = audit_spans.c, audit_postings.c
    none = literal(0, Number)
    parts = [
        select(literal(_NO_SPAN, Number), s.start, s.width, s.first_at, s.last_at, literal(b"", Bytes)),
        *(
            select(literal(place, Number), p.start, none, none, none, p.members).where(
                p.field == field, p.value == value
            )
            for place, (field, value) in enumerate(conditions)
        ),
    ]
    found: list[Span] = []
    members: list[dict[int, bytes]] = [{} for _ in conditions]
    for place, start, width, first_at, last_at, blob in connection.execute(union_all(*parts)):
        if place == _NO_SPAN:
            found.append(Span(start, width, first_at, last_at))
        else:
            members[place][start] = bytes(blob)
    return sorted(found), members


def rows(connection: Connection, start: int, stop: int) -> list[Row]:
    """Return what the index needs of the entries from ``start`` to before ``stop``."""
    e = audit_entries.c
    query = (
        select(
            e.leaf_index,
            e.at,
            *(e[name] for name in FIELDS),
            func.coalesce(func.length(e.subject_refs), 0) // 32,
            e.entry,
        )
        .where(e.leaf_index >= start, e.leaf_index < stop)
        .order_by(e.leaf_index)
    )
    return [Row._make((*row[:8], int(row[8]), bytes(row[9]))) for row in read_rows(connection, query)]


def matching(connection: Connection, wanted: AuditFilter, start: int, stop: int) -> NDArray[np.int64]:
    """Return which entries of a range match, people left aside, ascending."""
    e = audit_entries.c
    query = select(e.leaf_index).where(e.leaf_index >= start, e.leaf_index < stop)
    for name in FIELDS:
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(e[name] == value)
    return _numbers(connection, _timed(query, wanted))


def timely(connection: Connection, wanted: AuditFilter, start: int, stop: int) -> NDArray[np.int64]:
    """Return which entries of a range are of the time asked for, ascending."""
    e = audit_entries.c
    query = select(e.leaf_index).where(e.leaf_index >= start, e.leaf_index < stop)
    return _numbers(connection, _timed(query, wanted))


def instants(connection: Connection, start: int, stop: int) -> list[Span]:
    """Return the narrow spans of a range, merged since or not."""
    i = audit_instants.c
    query = select(i.start, i.first_at, i.last_at).where(i.start >= start, i.start < stop).order_by(i.start)
    found = read_rows(connection, query)
    stops = [int(row[0]) for row in found[1:]] + [stop]
    return [Span(at, end - at, first, last) for (at, first, last), end in zip(found, stops, strict=True)]


def concerning(connection: Connection, identity_nos: Iterable[int]) -> NDArray[np.int64]:
    """Return which entries concern one of these identities, ascending, each once."""
    query = select(audit_subjects.c.leaf_index).where(among(audit_subjects.c.identity_no, identity_nos))
    return np.unique(_numbers(connection, query))


def _timed(query: Any, wanted: AuditFilter) -> Any:
    at = audit_entries.c.at + 0  # no index of instants: the range of entries is the narrower one
    if wanted.from_ is not None:
        query = query.where(at >= wanted.from_)
    return query if wanted.to is None else query.where(at < wanted.to)


def _numbers(connection: Connection, query: Any) -> NDArray[np.int64]:
    return np.sort(read_numbers(connection, query)[:, 0])


def postings(connection: Connection, starts: Sequence[int]) -> list[tuple[str, str, int, bytes]]:
    """Return the bitmaps of the spans that start there: (field, value, start, members)."""
    p = audit_postings.c
    query = select(p.field, p.value, p.start, p.members).where(among(p.start, starts))
    return [(field, value, at, bytes(blob)) for field, value, at, blob in read_rows(connection, query)]


def add_instants(connection: Connection, span: Span) -> None:
    """Store when a narrow span is of."""
    insert_many(
        connection,
        audit_instants,
        ("start", "first_at", "last_at"),
        [(span.start, span.first_at, span.last_at)],
    )


def add(connection: Connection, span: Span, members: Mapping[tuple[str, str], bytes]) -> None:
    """Store a span and its bitmaps, by (field, value)."""
    insert_many(connection, audit_spans, Span._fields, [span])
    insert_many(
        connection,
        audit_postings,
        ("field", "value", "start", "members"),
        [(field, value, span.start, blob) for (field, value), blob in sorted(members.items())],
    )


def remove(connection: Connection, starts: Sequence[int]) -> None:
    """Delete spans with their bitmaps."""
    for table in (audit_postings, audit_spans):
        connection.execute(delete(table).where(among(table.c.start, starts)))


def clear(connection: Connection) -> None:
    """Delete the whole index."""
    for table in (audit_postings, audit_spans, audit_instants, audit_days):
        connection.execute(delete(table))


def count_days(connection: Connection, counted: Mapping[Day, tuple[int, int]]) -> None:
    """Add to the days: by key, how many entries and people more."""
    d = audit_days.c
    keys = (d.day, d.purpose, d.destination, d.action, d.outcome)
    query = select(*keys, d.entries, d.people).where(among(d.day, sorted({key[0] for key in counted})))
    held = {tuple(row[:5]): (int(row[5]), int(row[6])) for row in read_rows(connection, query)}
    names = [column.name for column in keys]
    new = []
    for key, (entries, people) in sorted(counted.items()):
        before = held.get(key, (0, 0))
        sums = {"entries": before[0] + entries, "people": before[1] + people}
        new.append({**dict(zip(names, key, strict=True)), **sums})
    upsert(connection, audit_days, new, names)


def days(
    connection: Connection,
    first: int,
    last: int,
    wanted: AuditFilter | None = None,
    *,
    by_action: bool = True,
) -> dict[Day, tuple[int, int]]:
    """Return what is counted of the days from ``first`` to ``last``, both included.

    :param wanted: of it count purpose, destination, action and outcome.
    :param by_action: otherwise action and outcome are empty, and summed over.
    """
    d = audit_days.c
    keys = [d.day, d.purpose, d.destination, *((d.action, d.outcome) if by_action else ())]
    query = select(*keys, func.sum(d.entries), func.sum(d.people)).where(d.day.between(first, last))
    for column in (d.purpose, d.destination, d.action, d.outcome):
        value = None if wanted is None else getattr(wanted, column.name)
        if value is not None:
            query = query.where(column == value)
    empty = () if by_action else ("", "")
    return {
        (*row[:-2], *empty): (int(row[-2]), int(row[-1]))
        for row in read_rows(connection, query.group_by(*keys))
    }
