"""What the queries of all kinds of leaves are made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import ibis  # type: ignore[import-untyped]  # publishes no types
import msgspec

from cdp.clock import DAY, SECOND
from cdp.errors import UnavailableError
from cdp.profiles import FINE
from cdp.segments.definition import AGE, Condition, Value
from cdp.segments.edges import lag
from cdp.warehouse import Tables, evaluated_at, event_column, wall_clock

WIDE = "decimal(38, 0)"
"""The type of a rank: a whole number wider than 64 bits."""
_SIXTH = 1_000_000.0
_HOUR = 3600 * SECOND
_THURSDAY = 4  # the first day of 1970


# Ibis has no word for these that is compiled for every engine, and fast; every engine calls them so.
@ibis.udf.agg.builtin(signature=(("int64", WIDE), "int64"))  # type: ignore[untyped-decorator]  # as above
def max_by(value: Any, rank: Any) -> Any:
    """Return the value that has the highest rank."""


@ibis.udf.agg.builtin(signature=(("int64",), "int64"))  # type: ignore[untyped-decorator]  # as above
def bit_or(flags: Any) -> Any:
    """Return the bits that are in any of the numbers."""


class Found(msgspec.Struct, frozen=True):
    """The query of a pass.

    :param table: an Ibis table with ``profile_no`` and ``flags``.
    :param complements: for each leaf, whether it holds for everyone whom the query does not flag.
    """

    table: Any
    complements: tuple[bool, ...]

    @classmethod
    def of(cls, profiles: Any, holds: Sequence[Any], complements: Sequence[bool] = ()) -> Found:
        """Make it of a table with one row a profile, and for each leaf whether it finds the profile."""
        if len(holds) == 1:  # whoever is there is flagged
            table = profiles.filter(holds[0]).select("profile_no", flags=ibis.literal(1, "int64"))
        else:
            table = profiles.select("profile_no", flags=flagged(holds))
            table = table.filter(table["flags"] > 0)
        return cls(table, tuple(complements) or (False,) * len(holds))


def flagged(holds: Sequence[Any]) -> Any:
    """Return a number whose bit ``i`` says that the condition ``i`` holds."""
    bits = (ibis.ifelse(one.fill_null(False), 1 << bit, 0) for bit, one in enumerate(holds))
    return reduce(add, bits).cast("int64")


def mapped(facts: Any, tables: Tables) -> Any:
    """Replace ``identity_no`` by ``profile_no``; an identity without a row is its own profile."""
    joined = facts.left_join(tables.members, "identity_no")
    kept = [name for name in facts.columns if name != "identity_no"]
    return joined.select(*kept, profile_no=joined.profile_no.coalesce(joined.identity_no))


def happening(conditions: Sequence[Condition], tables: Tables) -> list[Any]:
    """Return what holds of an event of which ``conditions`` hold."""
    return [_condition(item, tables) for item in conditions]


def _condition(item: Condition, tables: Tables) -> Any:
    if item.property != AGE:
        return compare(column(tables, item.property, item.zone), item.op, item.value)
    # on the instant itself, so that row groups outside stay closed
    ages = item.value if isinstance(item.value, tuple) else (item.value,)
    instants = [evaluated_at() - lag(age) for age in ages]
    at = tables.events.occurred_at
    if item.op == "between":
        return at.between(instants[1], instants[0])
    turned = {"lt": at.__gt__, "lte": at.__ge__, "gt": at.__lt__, "gte": at.__le__}
    return turned[item.op](instants[0])


def column(tables: Tables, name: str, zone: str = "") -> Any:
    """Return the column of an event's property, or what every event has.

    :param zone: IANA time zone of an hour or weekday.
    :raises UnavailableError: the warehouse does not have it yet.
    """
    at = tables.events.occurred_at
    if name == "event.time":
        return at
    if name == AGE:
        return (evaluated_at() - at).cast("float64") / float(DAY)
    if name in {"event.hour", "event.weekday"}:
        here = wall_clock(at, zone)
        if name == "event.hour":
            return ((here // _HOUR % 24 + 24) % 24).cast("float64")
        return (((here // DAY + _THURSDAY - 1) % 7 + 7) % 7 + 1).cast("float64")
    if name not in tables.declared.properties:
        raise behind()
    return tables.events[event_column(name)]


def compare(found: Any, op: str, value: Value) -> Any:
    """Return the comparison; it is never true of NULL, except that ``exists: false`` is."""
    if isinstance(value, tuple):
        return found.between(*value) if op == "between" else found.isin(value)
    if op == "exists":
        return found.notnull() if value else found.isnull()
    if op == "contains":
        return found.contains(value)
    if op == "starts_with":
        return found.startswith(value)
    return {
        "eq": found.__eq__,
        "ne": found.__ne__,
        "lt": found.__lt__,
        "lte": found.__le__,
        "gt": found.__gt__,
        "gte": found.__ge__,
    }[op](value)


def rounded(amount: Any) -> Any:
    """Round to six decimals, ties away from zero; an amount too great to tell them apart is as it is.

    By arithmetic that every engine does alike: of ties their own ``round`` decides differently.
    """
    near = (amount.abs() * _SIXTH + 0.5).floor() / _SIXTH * amount.sign()
    return ibis.ifelse(amount.abs() < FINE, near, amount)


def behind() -> UnavailableError:
    """Return the error of a field that the warehouse does not have yet."""
    return UnavailableError("the warehouse was not refreshed since this field was declared; try again soon")
