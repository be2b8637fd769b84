"""deciding: the events of one person by which a condition holds, or does not."""

from __future__ import annotations

from functools import reduce
from operator import or_

import ibis  # type: ignore[import-untyped]  # publishes no types

from cdp.segments.compile.common import happening
from cdp.segments.compile.events import amounts, in_window
from cdp.segments.compile.sequences import reached_steps, step_fits
from cdp.segments.definition import Event, Sequence
from cdp.segments.reader import OF_EVENT
from cdp.warehouse import Tables, evaluated_at, event_column

_SHOWN = 20


def deciding(leaf: Event | Sequence, tables: Tables) -> tuple[str, str, tuple[str, ...]]:
    """Return SQL for the newest events that fit, SQL for what they amount to, and the properties looked at.

    The first has the columns ``type``, ``name``, ``occurred_at`` and, of property ``i``, ``read_i``. The
    second has, of an event leaf, ``matched`` and ``amount`` in one row, or none where no event fits; of a
    sequence in one row ``reached_i``, whether step ``i`` of those that happen was.
    """
    events = tables.events
    if isinstance(leaf, Event):
        source = events.filter(
            events.name == leaf.name,
            events.type == leaf.type,
            *in_window(leaf, tables),
            *happening(leaf.where, tables),
        )
        wanted = leaf.aggregate
        read = [item.property for item in leaf.where]
        read += [wanted.property] if wanted is not None and wanted.property else []
        summed = amounts(leaf, tables)
    else:
        source = events.filter(
            reduce(or_, (step_fits(step, tables) for step in leaf.steps)),
            events.occurred_at <= evaluated_at(),
        )
        if leaf.within is not None:
            source = source.filter(source.occurred_at >= evaluated_at() - leaf.within)
        read = [item.property for step in leaf.steps for item in step.where]
        summed = reached_steps(leaf, tables)
    names = tuple(name for name in dict.fromkeys(read) if name not in OF_EVENT)  # which the others tell
    columns = {f"read_{place}": source[event_column(name)] for place, name in enumerate(names)}
    shown = source.select("type", "name", "occurred_at", **columns)
    rows = shown.order_by(ibis.desc("occurred_at"), "type", "name").limit(_SHOWN)
    return str(ibis.to_sql(rows, dialect="duckdb")), str(ibis.to_sql(summed, dialect="duckdb")), names
