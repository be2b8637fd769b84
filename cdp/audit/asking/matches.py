"""Finding entries: which match, and exactly how many, whatever is combined.

Steps:

1. The bitmaps of each condition are read, for every span (one statement).
2. Span by span, newest first, they are intersected; what is asked of time cuts whole spans off and is looked
   up in those that it runs through; the entries about somebody come from the index of subjects.
3. What no span covers yet is read from the entries.

So the work is bounded by the number of spans, not by how many entries match, or how seldom.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from cdp.audit.asking import queries
from cdp.audit.asking.queries import FIELDS, Span
from cdp.audit.model import AuditFilter
from cdp.store import Connection

Numbers = NDArray[np.int64]


class Found(NamedTuple):
    """Which entries match.

    :param indexes: those asked for, newest first.
    :param total: how many there are in all.
    """

    indexes: list[int]
    total: int


def find(
    connection: Connection,
    wanted: AuditFilter,
    limit: int,
    before: int | None = None,
    size: int | None = None,
) -> Found:
    """Return up to ``limit`` matching entries, newest first, and how many match.

    :param before: only entries below this index; the total counts the others too.
    :param size: look at the first so many entries of the log; all of them when None.
    """
    held = queries.size(connection)
    size = held if size is None else min(size, held)
    before = size if before is None else before
    conditions = [(name, value) for name in FIELDS if (value := getattr(wanted, name)) is not None]
    spans, members = queries.read_index(connection, conditions)
    concerned = None
    if wanted.identity_nos is not None:
        concerned = queries.concerning(connection, wanted.identity_nos)
    behind = spans[-1].end if spans else 0
    tail = queries.matching(connection, wanted, behind, size)
    if concerned is not None:
        tail = np.intersect1d(tail, concerned, assume_unique=True)
    total = len(tail)
    indexes = tail[: np.searchsorted(tail, before)][::-1][:limit].tolist()
    for span in reversed(spans):
        if not _may_match(span, wanted) or span.start >= size:
            continue
        found = _in_span(connection, span, wanted, [held.get(span.start) for held in members], concerned)
        if span.end > size:
            found.remove_range(size - span.start, span.width)
        total += len(found)
        if len(indexes) < limit and span.start < before:
            below = found.rank(before - span.start - 1)
            newest = found[max(0, below - (limit - len(indexes))) : below]
            indexes += [span.start + place for place in reversed(newest)]
    return Found(indexes, total)


def _may_match(span: Span, wanted: AuditFilter) -> bool:
    return (wanted.from_ is None or span.last_at >= wanted.from_) and (
        wanted.to is None or span.first_at < wanted.to
    )


def _in_span(
    connection: Connection,
    span: Span,
    wanted: AuditFilter,
    conditions: list[bytes | None],
    concerned: Numbers | None,
) -> BitMap:
    """Return the places in a span that match."""
    parts: list[BitMap] = []
    for blob in conditions:
        if blob is None:
            return BitMap()
        parts.append(queries.opened(blob))
    if concerned is not None:
        first, last = np.searchsorted(concerned, (span.start, span.end))
        parts.append(_bitmap(concerned[first:last], span))
    found = BitMap.intersection(*parts) if parts else BitMap(range(span.width))
    if found and not _is_whole(span, wanted):
        found &= _timely(connection, span, wanted)
    return found


def _timely(connection: Connection, span: Span, wanted: AuditFilter) -> BitMap:
    """Return the places in a span that are of the time asked for; of few narrow spans entries are read."""
    found = BitMap()
    for part in queries.instants(connection, span.start, span.end):
        if _is_whole(part, wanted):
            found.add_range(part.start - span.start, part.end - span.start)
        elif _may_match(part, wanted):
            found |= _bitmap(queries.timely(connection, wanted, part.start, part.end), span)
    return found


def _is_whole(span: Span, wanted: AuditFilter) -> bool:
    return (wanted.from_ is None or span.first_at >= wanted.from_) and (
        wanted.to is None or span.last_at < wanted.to
    )


def _bitmap(numbers: Numbers, span: Span) -> BitMap:
    return BitMap((numbers - span.start).astype(np.uint32))
