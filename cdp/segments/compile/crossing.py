"""crossing: whose facts lie at the edges of windows, and whose lie ahead."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, reduce
from operator import or_
from typing import Any

import ibis  # type: ignore[import-untyped]  # publishes no types
from pyroaring import BitMap

from cdp.clock import Micros
from cdp.segments.edges import Facts, Span
from cdp.warehouse import Declared, Focus, Scan, Snapshot, Tables, bitmap, evaluated_at


def crossing(snapshot: Snapshot, edges: Mapping[Facts, list[Span]], now: Micros) -> BitMap:
    """Return the identities that have facts there."""
    found = BitMap()
    for facts, spans in edges.items():
        expression = _facts(snapshot, facts, spans)
        sql = str(ibis.to_sql(expression, dialect=snapshot.dialect))
        looked = Scan(frozenset([facts.name]), spans[0][0]) if facts.type else None
        found |= bitmap(snapshot.run(sql, now, looked)["identity_no"])
    return found


def ahead(snapshot: Snapshot | Focus, now: Micros) -> dict[int, Micros]:
    """Return identity → the next instant at which one of its events ceases to be later than now."""
    found = snapshot.run(_ahead(snapshot.dialect), now)
    return dict(zip(found["identity_no"].tolist(), found["next"].tolist(), strict=True))


@cache
def _ahead(dialect: str) -> str:
    events = Tables(Declared()).events
    later = events.filter(events.occurred_at > evaluated_at())
    return str(
        ibis.to_sql(later.group_by("identity_no").aggregate(next=later.occurred_at.min()), dialect=dialect)
    )


def _facts(snapshot: Snapshot, facts: Facts, spans: list[Span]) -> Any:
    tables = snapshot.tables
    if facts.type:
        table, at = tables.events, tables.events.occurred_at
        narrow = [table.name == facts.name, table.type == facts.type]
    else:
        table, at = tables.traits, tables.traits.observed_at
        narrow = [table.name == facts.name]
    within = reduce(or_, (at.between(low, high) for low, high in spans))
    around = at.between(spans[0][0], spans[-1][1])  # row groups beyond it stay closed
    return table.filter(*narrow, around, within).select("identity_no").distinct()
