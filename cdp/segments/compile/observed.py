"""observed: which values of traits were said most, to know what is worth counting.

It counts observations, not people: a fold decides which of them hold, and that is asked of the leaves that
are made of these values.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import ibis  # type: ignore[import-untyped]  # publishes no types

from cdp.clock import Micros, micros
from cdp.policy import ValueType
from cdp.segments.compile.retention import period
from cdp.warehouse import VALUE_COLUMN, Snapshot, Tables

YEARS = range(1900, 2101)


def year_begins(year: int) -> Micros:
    """Return when a year begins, in UTC."""
    return micros(datetime(year, 1, 1, tzinfo=UTC))


def observed(
    snapshot: Snapshot, kind: ValueType, names: Collection[str], most: int, now: Micros
) -> dict[str, list[Any]]:
    """Return trait → values of it, those said most first; of equally many the least.

    :param kind: of all the traits: of ``string`` the values are texts, of ``time`` years (of ``YEARS``).
    :param most: how many values of a trait.
    """
    source = _said(snapshot.tables, kind, names)
    if kind == "time":
        begins = [year_begins(year) for year in YEARS]
        within = source.value.between(begins[0], year_begins(YEARS.stop) - 1)
        source = source.filter(within).mutate(value=period(source.value, begins) + YEARS.start)
    counted = source.group_by("name", "value").aggregate(times=source.count())
    order = [ibis.desc("times"), "value"]
    ranked = counted.mutate(place=ibis.row_number().over(group_by="name", order_by=order))
    ranked = ranked.filter(ranked.place < most).select("name", "value", "place").order_by("name", "place")
    columns = snapshot.run(str(ibis.to_sql(ranked, dialect=snapshot.dialect)), now)
    found: dict[str, list[Any]] = {}
    for name, value in zip(columns["name"].tolist(), columns["value"].tolist(), strict=True):
        found.setdefault(name, []).append(value)
    return found


def spread(
    snapshot: Snapshot, names: Collection[str], shares: Sequence[float], now: Micros
) -> dict[str, list[float]]:
    """Return trait of numbers → the numbers below which these shares of what was said of it lie."""
    source = _said(snapshot.tables, "number", names)
    amounts = {f"at_{place}": source.value.quantile(share) for place, share in enumerate(shares)}
    columns = snapshot.run(
        str(ibis.to_sql(source.group_by("name").aggregate(**amounts), dialect=snapshot.dialect)), now
    )
    bounds = zip(*(columns[name].tolist() for name in amounts), strict=True)
    return {name: list(row) for name, row in zip(columns["name"].tolist(), bounds, strict=True)}


def _said(tables: Tables, kind: ValueType, names: Collection[str]) -> Any:
    traits = tables.traits
    value = traits[VALUE_COLUMN[kind]]
    return traits.filter(traits.name.isin(sorted(names)), value.notnull()).select("name", value=value)
