"""Reads and writes of the quarantine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, select, update

from cdp.clock import DAY, Micros
from cdp.ingest.tables import quarantine, quarantine_index
from cdp.store import among, among_bytes, chunks, insert_many, read_rows

if TYPE_CHECKING:
    from cdp.ingest.quarantine.service import Wanted

QUARANTINE_COLUMNS = (
    "quarantine_id", "batch", "source_id", "kind", "reason", "cause", "received_at", "bucket", "sealed",
)  # fmt: skip
_q, _x = quarantine.c, quarantine_index.c
_PAGE = 1_000
Gone = Counter[tuple[int, int]]
"""(source number, day of receipt) → messages that waited."""


def add_quarantined(
    connection: Connection, rows: Sequence[Sequence[Any]], terms: Sequence[tuple[bytes, int]]
) -> None:
    """Insert quarantine rows (tuples in the order of ``QUARANTINE_COLUMNS``) and what finds them."""
    insert_many(connection, quarantine, QUARANTINE_COLUMNS, rows)
    insert_many(connection, quarantine_index, ("term", "quarantine_id"), terms)


def quarantined(connection: Connection, limit: int, after: int, wanted: Wanted) -> list[Row[Any]]:
    """Return rows that wait with an id above ``after``, oldest first."""
    query = select(quarantine).where(_q.quarantine_id > after, *_meant(wanted))
    return list(connection.execute(query.order_by(_q.quarantine_id).limit(limit)))


def waiting(connection: Connection, wanted: Wanted) -> list[tuple[str, str, int, int, Micros]]:
    """Return (kind, reason, source, messages, when the oldest came) of what waits; the most first."""
    of = (_q.kind, _q.reason, _q.source_id)
    query = select(*of, func.count(), func.min(_q.received_at)).where(*_meant(wanted)).group_by(*of)
    rows = [(row[0], row[1], int(row[2]), int(row[3]), int(row[4])) for row in connection.execute(query)]
    return sorted(rows, key=lambda row: (-row[3], row[:3]))


def _meant(wanted: Wanted) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [_q.replayed_at.is_(None)]
    if wanted.kind:
        conditions.append(_q.kind == wanted.kind)
    if wanted.reason:
        conditions.append(_q.reason == wanted.reason)
    if wanted.source_id is not None:
        conditions.append(_q.source_id == wanted.source_id)
    if wanted.since is not None:
        conditions.append(_q.received_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(_q.received_at < wanted.until)
    if wanted.ids is not None:
        conditions.append(among(_q.quarantine_id, wanted.ids))
    return conditions


def buckets(connection: Connection) -> list[str]:
    """Return the buckets that hold anything."""
    return list(connection.execute(select(_q.bucket).distinct().order_by(_q.bucket)).scalars())


def indexed(connection: Connection, terms: Sequence[bytes]) -> list[int]:
    """Return the rows that stand under any of these terms, ascending."""
    found: set[int] = set()
    for chunk in chunks(terms, _PAGE):
        query = select(_x.quarantine_id).where(among_bytes(connection, _x.term, chunk))
        found.update(number for (number,) in read_rows(connection, query))
    return sorted(found)


def every_quarantined(connection: Connection) -> list[int]:
    """Return every row, replayed or not, ascending."""
    query = select(_q.quarantine_id).order_by(_q.quarantine_id)
    return [number for (number,) in read_rows(connection, query)]


def quarantine_rows(connection: Connection, quarantine_ids: Sequence[int]) -> Iterator[Row[Any]]:
    """Yield these rows, replayed or not."""
    for chunk in chunks(quarantine_ids, _PAGE):
        query = select(quarantine).where(among(_q.quarantine_id, chunk))
        yield from connection.execute(query.order_by(_q.quarantine_id)).all()


def claim(connection: Connection, quarantine_ids: Sequence[int], now: Micros) -> set[int]:
    """Mark the rows that wait among these as replayed, and return them."""
    query = update(quarantine).where(among(_q.quarantine_id, quarantine_ids), _q.replayed_at.is_(None))
    return set(connection.execute(query.values(replayed_at=now).returning(_q.quarantine_id)).scalars())


def put_back(connection: Connection, failed: Sequence[tuple[Any, ...]]) -> int:
    """Have rows wait again, of the (id, kind, reason, cause) that they have now; returns how many."""
    for number, kind, reason, cause in failed:
        values = {"kind": kind, "reason": reason, "cause": cause, "replayed_at": None}
        connection.execute(update(quarantine).where(_q.quarantine_id == number).values(values))
    return len(failed)


def drop_quarantined(connection: Connection, quarantine_ids: Collection[int]) -> Gone:
    """Delete rows and what finds them; returns those that waited."""
    gone: Gone = Counter()
    for chunk in chunks(quarantine_ids):
        connection.execute(delete(quarantine_index).where(among(_x.quarantine_id, chunk)))
        query = delete(quarantine).where(among(_q.quarantine_id, chunk))
        rows = connection.execute(query.returning(_q.source_id, _q.received_at, _q.replayed_at))
        gone.update((int(row[0]), int(row[1]) // DAY) for row in rows if row[2] is None)
    return gone


def forget_quarantined(connection: Connection, oldest: str) -> tuple[Gone, int]:
    """Delete rows in buckets before ``oldest``; returns those that waited, and how many rows that were."""
    query = select(_q.quarantine_id).where(_q.bucket < oldest)
    numbers = [number for (number,) in read_rows(connection, query)]
    return drop_quarantined(connection, numbers), len(numbers)
