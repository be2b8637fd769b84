"""retention: when people began, and in which later periods they came back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ibis  # type: ignore[import-untyped]  # publishes no types

from cdp.clock import Micros
from cdp.segments.compile.common import happening, mapped
from cdp.segments.definition import Event
from cdp.segments.edges import scan
from cdp.warehouse import Snapshot, Tables, evaluated_at


def retention(
    snapshot: Snapshot, start: Event, back: Event, begins: Sequence[Micros], most: int, now: Micros
) -> dict[str, Any]:
    """Return one row a person whose first start lies in a period: ``profile_no``, ``cohort``, ``came``.

    ``cohort`` is the place of the period of the first start; bit ``k`` of ``came`` says that something to
    come back by happened later than that start, in the ``k``-th period after.

    :param begins: when each period begins, ascending; the last one has no end but now.
    :param most: for how many periods after the first, up to 52.
    :raises UnavailableError: the warehouse cannot answer now.
    """
    expression = _came(start, back, begins, most, snapshot.tables)
    return snapshot.run(str(ibis.to_sql(expression, dialect=snapshot.dialect)), now, scan([start, back], now))


def _came(start: Event, back: Event, begins: Sequence[Micros], most: int, tables: Tables) -> Any:
    events = tables.events
    firsts = _fitting(start, tables)
    firsts = mapped(events.filter(*firsts).select("identity_no", "occurred_at"), tables)
    firsts = firsts.group_by("profile_no").aggregate(first=firsts.occurred_at.min())
    firsts = firsts.filter(firsts["first"] >= begins[0])
    firsts = firsts.select("profile_no", "first", cohort=period(firsts["first"], begins))
    seen = [*_fitting(back, tables), events.occurred_at >= begins[0]]
    seen = mapped(events.filter(*seen).select("identity_no", "occurred_at"), tables)
    seen = seen.select("profile_no", "occurred_at", period=period(seen.occurred_at, begins))
    joined = firsts.left_join(seen, "profile_no").select(
        firsts.profile_no,
        firsts.cohort,
        after=ibis.ifelse(seen.occurred_at > firsts["first"], seen.period - firsts.cohort, ibis.null()),
    )
    told = joined.mutate(after=ibis.ifelse(joined.after <= most, joined.after, ibis.null())).distinct()
    bits = (ibis.literal(2.0) ** told.after.cast("float64")).sum().fill_null(0.0)  # a double holds 53 of them
    return told.group_by("profile_no", "cohort").aggregate(came=bits.cast("int64"))


def period(at: Any, begins: Sequence[Micros]) -> Any:
    """Return the place of the last of ``begins`` that is not after an instant, 0 for one before all.

    By halving, so that an instant is compared a few times only; by no calendar of an engine.
    """
    if len(begins) == 1:
        return ibis.literal(0, "int64")
    return _halved(at, begins, 0, len(begins))


def _halved(at: Any, begins: Sequence[Micros], low: int, high: int) -> Any:
    if high - low == 1:
        return ibis.literal(low, "int64")
    middle = (low + high) // 2
    return ibis.ifelse(
        at >= begins[middle], _halved(at, begins, middle, high), _halved(at, begins, low, middle)
    )


def _fitting(leaf: Event, tables: Tables) -> list[Any]:
    events = tables.events
    return [
        events.name == leaf.name,
        events.type == leaf.type,
        events.occurred_at <= evaluated_at(),
        *happening(leaf.where, tables),
    ]
