"""events: conditions on the events of one name, found in one pass over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from cdp.segments.definition import COUNTS, Aggregate, Event, Ratio
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
            columns[_of(leaf.aggregate)] = column(tables, leaf.aggregate.property, leaf.aggregate.zone)
    if any(_instant(leaf) for leaf in leaves):
        columns["occurred_at"] = events.occurred_at
    once = [kinds.index(_kind(leaf)) for leaf in leaves if leaf.aggregate is None]
    if once:
        columns["fits"] = flagged([reduce(and_, wanted[place], ibis.literal(True)) for place in once])
    facts = mapped(source.select("identity_no", **columns), tables)
    counted = [leaf for leaf in leaves if leaf.aggregate is not None]
    marks = (f"is_{kinds.index(_kind(leaf))}" for leaf in counted)
    wheres = [facts[mark] if mark in columns else None for mark in marks]
    more = {"fits": bit_or(facts.fits)} if once else {}
    grouped = _grouped([leaf.aggregate for leaf in counted], facts, wheres, more)
    complements = [leaf.aggregate is not None and _holds_of_none(leaf.aggregate) for leaf in leaves]
    bits, places = iter(range(len(once))), iter(range(len(counted)))
    holds = [
        (grouped.fits & (1 << next(bits))) > 0
        if leaf.aggregate is None
        else _holds(leaf.aggregate, grouped[f"amount_{next(places)}"], complement=complement)
        for leaf, complement in zip(leaves, complements, strict=True)
    ]
    return Found.of(grouped, holds, complements)


def amounts(leaf: Event, tables: Tables) -> Any:
    """Return, of whoever has events that fit, ``profile_no``, how many ``matched``, and their ``amount``."""
    wanted = leaf.aggregate
    columns = {"occurred_at": tables.events.occurred_at}
    if wanted is not None and wanted.property:
        columns[_of(wanted)] = column(tables, wanted.property, wanted.zone)
    kind = _kind(leaf)
    narrow = [tables.events.name == leaf.name, tables.events.type == leaf.type, *_conditions(kind, tables)]
    facts = mapped(tables.events.filter(*narrow).select("identity_no", **columns), tables)
    counted = facts.group_by("profile_no").aggregate(matched=facts.count())
    if wanted is None or wanted.function == "count":
        return counted.mutate(amount=counted.matched)
    found = _grouped([wanted], facts, [None], {}).select("profile_no", amount="amount_0")
    joined = counted.left_join(found, "profile_no")
    return joined.select(profile_no=counted.profile_no, matched=counted.matched, amount=found.amount)


def ratio_pass(leaf: Ratio, tables: Tables) -> Found:
    """Return the query of one ratio."""
    found = ratios(leaf, tables)
    missing = leaf.op == "exists" and leaf.value is False
    holds = found.amount.notnull() if missing else compare(found.amount, leaf.op, leaf.value)
    return Found.of(found, [holds], [missing])


def ratios(leaf: Ratio, tables: Tables) -> Any:
    """Return the ratio of whoever has one, as ``profile_no`` and ``amount``."""
    of, to = amounts(leaf.of, tables), amounts(leaf.to, tables)
    to = to.filter(to.amount != 0)
    joined = to.left_join(of, "profile_no").select(profile_no=to.profile_no, part=of.amount, whole=to.amount)
    part = joined.part
    if leaf.of.aggregate is not None and leaf.of.aggregate.function in {*COUNTS, "sum"}:
        part = part.fill_null(0)
    return joined.select("profile_no", amount=rounded(part.cast("float64") / joined.whole.cast("float64")))


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
    return f"of_{event_column(wanted.property)}{wanted.zone}"


def _instant(leaf: Event) -> bool:
    return leaf.aggregate is not None and leaf.aggregate.function in {"first", "last", "most_frequent"}


def _grouped(
    wanted: Sequence[Aggregate | None], facts: Any, wheres: Sequence[Any], more: Mapping[str, Any]
) -> Any:
    """Return one row a profile with ``amount_i``, what its events amount to by the aggregate ``i``.

    :param wheres: for each, which of the events count; all where it is None.
    :param more: what else to aggregate, unless it is values that are counted.
    """
    first = wanted[0] if wanted else None
    if first is None or first.function != "most_frequent":
        found = {
            f"amount_{place}": _amount(one, facts, where)
            for place, (one, where) in enumerate(zip(wanted, wheres, strict=True))
        }
        return facts.group_by("profile_no").aggregate(**more, **found)
    counts = {}
    for place, where in enumerate(wheres):
        counts[f"times_{place}"] = facts.count(where=where)
        counts[f"last_{place}"] = facts.occurred_at.max(where=where)
    each = facts.group_by("profile_no", value=facts[_of(first)]).aggregate(**counts)
    best = {}
    for place in range(len(wanted)):
        times = each[f"times_{place}"]
        row = ibis.struct({"times": times, "last": each[f"last_{place}"], "value": each.value})
        best[f"amount_{place}"] = row.max(where=(times > 0) & each.value.notnull())["value"]
    return each.group_by("profile_no").aggregate(**best)


def _amount(wanted: Aggregate | None, facts: Any, where: Any) -> Any:
    """Return what the events of a profile amount to.

    :param where: which of them count; all where it is None.
    """
    if wanted is None or wanted.function == "count":
        return facts.count(where=where)
    value = facts[_of(wanted)]
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
    if wanted.op == "exists":
        return wanted.value is False
    if wanted.function not in COUNTS:
        return False
    value = wanted.value
    if isinstance(value, tuple):
        return 0 in value if wanted.op == "in" else float(value[0]) <= 0 <= float(value[1])
    number = float(value)
    return {
        "eq": number == 0,
        "ne": number != 0,
        "lt": number > 0,
        "lte": number >= 0,
        "gt": number < 0,
        "gte": number <= 0,
    }[wanted.op]
