"""events: conditions on the events of one name, found in one pass over them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_, or_
from typing import Any

import ibis  # type: ignore[import-untyped]  # publishes no types

from cdp.segments.compile.common import (
    Found,
    bit_or,
    column,
    compare,
    flagged,
    happening,
    mapped,
    rounded,
)
from cdp.segments.definition import Aggregate, Event
from cdp.warehouse import Tables, evaluated_at, event_column


def event_pass(leaves: Sequence[Event], tables: Tables) -> Found:
    """Return the query of leaves on events of one name and type.

    What an event must be for one leaf or another is decided once for each event; what all leaves have in
    common narrows what is read.
    """
    events = tables.events
    kinds = list(dict.fromkeys(map(_kind, leaves)))  # what an event must be, each once
    wanted = [_conditions(kind, tables) for kind in kinds]
    narrow = [events.name == leaves[0].name, events.type == leaves[0].type]
    columns: dict[str, Any] = {}
    if len(kinds) == 1:
        narrow += wanted[0]
    else:
        narrow += _common(leaves, tables)
        if all(kind.where for kind in kinds):  # windows alone leave out no more than what they have in common
            narrow.append(reduce(or_, (reduce(and_, parts) for parts in wanted)))
        columns = {f"is_{place}": reduce(and_, parts) for place, parts in enumerate(wanted) if parts}
    source = events.filter(*narrow)
    if len(leaves) == 1 and leaves[0].aggregate is None:
        return Found.of(mapped(source.select("identity_no"), tables).distinct(), [ibis.literal(True)])
    for leaf in leaves:
        if leaf.aggregate is not None and leaf.aggregate.property:
            columns[_of(leaf.aggregate)] = column(tables, leaf.aggregate.property)
    if any(_instant(leaf) for leaf in leaves):
        columns["occurred_at"] = events.occurred_at
    once = [kinds.index(_kind(leaf)) for leaf in leaves if leaf.aggregate is None]
    if once:
        columns["fits"] = flagged([reduce(and_, wanted[place], ibis.literal(True)) for place in once])
    facts = mapped(source.select("identity_no", **columns), tables)
    amounts = {"fits": bit_or(facts.fits)} if once else {}
    for place, leaf in enumerate(leaves):
        if leaf.aggregate is None:
            continue
        mark = f"is_{kinds.index(_kind(leaf))}"
        where = facts[mark] if mark in columns else None
        value = facts[_of(leaf.aggregate)] if leaf.aggregate.property else None
        amounts[f"amount_{place}"] = amount_of(leaf.aggregate, facts, value, where)
    grouped = facts.group_by("profile_no").aggregate(**amounts)
    complements = [leaf.aggregate is not None and _holds_of_none(leaf.aggregate) for leaf in leaves]
    bits = iter(range(len(once)))
    holds = [
        (grouped.fits & (1 << next(bits))) > 0
        if leaf.aggregate is None
        else _holds(leaf.aggregate, grouped[f"amount_{place}"], complement=complement)
        for place, (leaf, complement) in enumerate(zip(leaves, complements, strict=True))
    ]
    return Found.of(grouped, holds, complements)


def in_window(leaf: Event, tables: Tables) -> list[Any]:
    """Return what holds of an event within a leaf's time."""
    at, found = tables.events.occurred_at, []
    if leaf.within is not None:
        found += [at >= evaluated_at() - leaf.within, at <= evaluated_at()]
    if leaf.start is not None:
        found.append(at >= leaf.start)
    if leaf.end is not None:
        found.append(at < leaf.end)
    return found


def _kind(leaf: Event) -> Event:
    """Return a leaf without its aggregate: what an event must be."""
    return Event(
        name=leaf.name, type=leaf.type, where=leaf.where, within=leaf.within, start=leaf.start, end=leaf.end
    )


def _conditions(kind: Event, tables: Tables) -> list[Any]:
    return [*in_window(kind, tables), *happening(kind.where, tables)]


def _common(leaves: Sequence[Event], tables: Tables) -> list[Any]:
    """Return the time outside of which no leaf reads: row groups beyond it are not opened."""
    at, found = tables.events.occurred_at, []
    if all(leaf.within is not None or leaf.start is not None for leaf in leaves):
        spans = [leaf.within for leaf in leaves if leaf.within is not None]
        starts = [leaf.start for leaf in leaves if isinstance(leaf.start, int)]
        bounds = [evaluated_at() - max(spans)] if spans else []
        bounds += [ibis.literal(min(starts), "int64")] if starts else []
        found.append(at >= (bounds[0] if len(bounds) == 1 else ibis.least(*bounds)))
    if all(leaf.within is not None for leaf in leaves):
        found.append(at <= evaluated_at())
    return found


def _of(wanted: Aggregate) -> str:
    return f"of_{event_column(wanted.property)}"


def _instant(leaf: Event) -> bool:
    return leaf.aggregate is not None and leaf.aggregate.function in {"first", "last"}


def amount_of(wanted: Aggregate | None, facts: Any, value: Any, where: Any = None) -> Any:
    """Return what events amount to.

    :param value: the column of the aggregate's property.
    :param where: which of the events count; all unless given.
    """
    if wanted is None or wanted.function == "count":
        return facts.count(where=where)
    if wanted.function in {"first", "last"}:
        known = value.notnull() if where is None else value.notnull() & where
        row = ibis.struct({"occurred_at": facts.occurred_at, "value": value})
        return (row.min(where=known) if wanted.function == "first" else row.max(where=known))["value"]
    if wanted.function in {"sum", "avg"}:
        amount = value.sum(where=where) if wanted.function == "sum" else value.mean(where=where)
        return rounded(amount)
    return {"min": value.min, "max": value.max, "distinct": value.nunique}[wanted.function](where=where)


def _holds(wanted: Aggregate, amount: Any, *, complement: bool) -> Any:
    """Return whether the pass finds a profile: of a complement, whether the condition does not hold."""
    holds = compare(amount, wanted.op, wanted.value)
    return ~holds if complement else holds


def _holds_of_none(wanted: Aggregate) -> bool:
    """Return whether an aggregate holds of a person without any event."""
    if wanted.function not in {"count", "distinct"}:
        return False
    value = wanted.value
    if isinstance(value, tuple):
        return float(value[0]) <= 0 <= float(value[1])
    number = float(value)
    return {
        "eq": number == 0,
        "ne": number != 0,
        "lt": number > 0,
        "lte": number >= 0,
        "gt": number < 0,
        "gte": number <= 0,
    }[wanted.op]
