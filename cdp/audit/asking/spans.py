"""Keeping the index up with the log.

Invariants:

1. Entries never change, so a span is written once, from committed entries, and only merged afterwards: ``WIDE
   // NARROW`` narrow ones become a wide one. Spans have no gaps between them and begin at entry 0.
2. One transaction at a time folds (a table lock; on SQLite its writer is alone). Nothing of it happens under
   the head of the log, so appending costs nothing more.
3. What is not folded yet is read from the entries (``find``), so nothing is ever missing from an answer.

A day's ``people`` are those that its entries concern, once for each entry: the references of an entry, or,
where it has none, the largest number in its ``people`` that is not hidden.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec
from pyroaring import BitMap

from cdp.audit.asking import queries
from cdp.audit.asking.queries import FIELDS, Day, Row, Span
from cdp.clock import DAY
from cdp.errors import AuditError
from cdp.store import Committer, Connection, retrying

NARROW = 4096
"""Entries of a span when it is new; so many at most are read one by one."""
WIDE = 65_536
"""Entries of a merged span: the numbers of one container of a Roaring bitmap."""
SPANS_A_TURN = 16
_Key = TypeVar("_Key", tuple[str, str], Day)
_Members = dict[tuple[str, str], BitMap]


class _People(msgspec.Struct, frozen=True):
    people: dict[str, int | str] = {}


_DECODER = msgspec.json.Decoder(_People)


def is_behind(connection: Connection) -> bool:
    """Tell whether there is a span to fold."""
    return queries.end(connection) + NARROW <= queries.size(connection)


def fold(committer: Committer, most: int = SPANS_A_TURN) -> int:
    """Fold up to so many spans of committed entries; returns how many there were to fold."""

    def run() -> int:
        with committer.batch() as batch:
            connection = batch.connection
            queries.lock(connection)
            start, size = queries.end(connection), queries.size(connection)
            stops = range(start + NARROW, size + 1, NARROW)[:most]
            for stop in stops:
                _fold(connection, stop - NARROW, stop)
                if stop % WIDE == 0:
                    _merge(connection, stop - WIDE, stop)
        return len(stops)

    with committer.store.reading() as connection:
        if not is_behind(connection):
            return 0
    return retrying(run)


def rebuild(committer: Committer) -> None:
    """Make the index again from the entries."""

    def empty() -> None:
        with committer.batch() as batch:
            queries.lock(batch.connection)
            queries.clear(batch.connection)

    retrying(empty)
    while fold(committer):
        pass


def _fold(connection: Connection, start: int, stop: int) -> None:
    rows = queries.rows(connection, start, stop)
    instants = [row.at for row in rows]
    span = Span(start, stop - start, min(instants), max(instants))
    queries.add(connection, span, _serialised(_members(rows, start)))
    queries.add_instants(connection, span)
    queries.count_days(connection, tally(rows))


def _merge(connection: Connection, start: int, stop: int) -> None:
    parts = [span for span in queries.spans(connection) if start <= span.start < stop]
    starts = [span.start for span in parts]
    merged: _Members = defaultdict(BitMap)
    for field, value, at, blob in queries.postings(connection, starts):
        merged[field, value] |= queries.opened(blob).shift(at - start)
    queries.remove(connection, starts)
    whole = Span(
        start, stop - start, min(part.first_at for part in parts), max(part.last_at for part in parts)
    )
    queries.add(connection, whole, _serialised(merged))


def _members(rows: Iterable[Row], start: int) -> _Members:
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in rows:
        for field in FIELDS:
            if value := getattr(row, field):
                places[field, value].append(row.leaf_index - start)
    return {key: BitMap(found) for key, found in places.items()}


def _serialised(members: _Members) -> dict[tuple[str, str], bytes]:
    for bitmap in members.values():
        bitmap.run_optimize()
    return {key: bitmap.serialize() for key, bitmap in members.items()}


def tally(rows: Iterable[Row]) -> dict[Day, tuple[int, int]]:
    """Count entries and people by day, purpose, destination, action and outcome."""
    counted: dict[Day, tuple[int, int]] = {}
    for row in rows:
        key = (row.at // DAY, row.purpose, row.destination, row.action, row.outcome)
        entries, people = counted.get(key, (0, 0))
        counted[key] = (entries + 1, people + (row.references or _people(row.entry)))
    return counted


def _people(entry: bytes) -> int:
    if b'"people":{}' in entry:
        return 0
    try:
        counts = _DECODER.decode(entry).people.values()
    except (msgspec.DecodeError, UnicodeError):  # altered: `cdp audit verify` says so
        return 0
    return max((count for count in counts if isinstance(count, int)), default=0)


def disagreements(connection: Connection) -> Iterator[tuple[int, str]]:
    """Say where the index is not that of the search columns, which are checked against the entries elsewhere.

    :returns: (start of a span or number of a day, what is wrong).
    """
    held, size = queries.spans(connection), queries.size(connection)
    counted: dict[Day, tuple[int, int]] = {}
    at = 0
    for span in held:
        if span.start != at or span.end > size:
            yield span.start, "its span does not follow the one before, or lies beyond the log's end"
            return
        at = span.end
        members: _Members = defaultdict(BitMap)
        narrow: list[Span] = []
        for start in range(span.start, span.end, NARROW):
            stop = min(start + NARROW, span.end)
            rows = queries.rows(connection, start, stop)
            instants = [row.at for row in rows] or [0]
            narrow.append(Span(start, stop - start, min(instants), max(instants)))
            for key, found in _members(rows, span.start).items():
                members[key] |= found
            add_up(counted, tally(rows))
        if narrow != queries.instants(connection, span.start, span.end) or (span.first_at, span.last_at) != (
            min(part.first_at for part in narrow),
            max(part.last_at for part in narrow),
        ):
            yield span.start, "its span is of another time than its entries"
        stored = {
            (field, value): _readable(blob)
            for field, value, _, blob in queries.postings(connection, [span.start])
        }
        wrong = sorted({key[0] for key in _differing(stored, members)})
        if wrong:
            yield span.start, f"what its span says of {', '.join(wrong)} is not what its entries say"
    days = queries.days(connection, 0, 1 << 40)
    for day in sorted({key[0] for key in _differing(days, counted)}):
        yield day, "what is counted of its day is not what its entries say"


def _readable(blob: bytes) -> BitMap | None:
    try:
        return queries.opened(blob)
    except AuditError:
        return None


def _differing(left: Mapping[_Key, object], right: Mapping[_Key, object]) -> list[_Key]:
    return [key for key in left.keys() | right.keys() if left.get(key) != right.get(key)]


def add_up(into: dict[Day, tuple[int, int]], more: dict[Day, tuple[int, int]]) -> None:
    """Add counts to those of the same keys."""
    for key, (entries, people) in more.items():
        before = into.get(key, (0, 0))
        into[key] = (before[0] + entries, before[1] + people)
