"""compile: a leaf → Ibis → SQL that yields the profiles it holds for.

Invariants: the SQL depends on the leaf and the declared columns only. The moment of evaluation enters
as ``evaluated_at()``, so compiled leaves are kept and reused. Facts belong to identities and are mapped to
profiles in the query, so a merge or split needs nothing recomputed. A trait is folded exactly as
``cdp.profiles.fold`` defines its rule, observations without a clear value included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ibis  # type: ignore[import-untyped]  # publishes no types
import msgspec

from cdp.clock import DAY
from cdp.errors import UnavailableError
from cdp.policy import Survivorship
from cdp.profiles import FINE
from cdp.segments.definition import Aggregate, Event, Sample, Trait, Value
from cdp.warehouse import VALUE_COLUMN, Declared, Tables, evaluated_at, event_column

Compilable = Trait | Event | Sample
_WIDE = "decimal(38, 0)"  # a rank packs trust | instant (60 bits) | tie (48 bits) into one number
_TIES = 1 << 48
_MARKS = 1 << 16  # the part of a tie that tells what one event says twice
_INSTANTS = 1 << 60
_DECIMALS = 6
_KEPT = 10_000


class Compiled(msgspec.Struct, frozen=True):
    """One leaf's query.

    :param complement: the leaf holds for everyone whom the query does *not* yield (``count: {lt: 2}``).
    """

    sql: str
    complement: bool


class Compiler:
    """Compiles leaves and keeps what it compiled."""

    def __init__(self) -> None:
        self._kept: dict[Compilable, Compiled] = {}
        self._declared: Declared | None = None

    def __call__(self, leaf: Compilable, tables: Tables) -> Compiled:
        """Return the leaf's query.

        :raises UnavailableError: the warehouse has not yet been refreshed since a field was declared.
        """
        if self._declared != tables.declared or len(self._kept) > _KEPT:
            self._kept, self._declared = {}, tables.declared
        kept = self._kept
        found = kept.get(leaf)
        if found is None:
            expression, complement = express(leaf, tables)
            found = Compiled(str(ibis.to_sql(expression, dialect="duckdb", pretty=True)), complement)
            kept[leaf] = found
        return found


def express(leaf: Compilable, tables: Tables) -> tuple[Any, bool]:
    """Return the leaf as an Ibis table with the column ``profile_no``, and whether it is a complement."""
    if isinstance(leaf, Sample):
        return _sample(leaf, tables), False
    if isinstance(leaf, Trait):
        if leaf.op == "exists" and leaf.value is False:  # also true of a profile without any observation
            return _trait(msgspec.structs.replace(leaf, value=True), tables), True
        return _trait(leaf, tables), False
    return _event(leaf, tables)


def _sample(leaf: Sample, tables: Tables) -> Any:
    """Draw by MD5, the same on every engine and in every version of one."""
    drawn = (ibis.literal(f"{leaf.salt}:") + tables.people.profile_no.cast("string")).hexdigest("md5")
    bound = int(leaf.share * (1 << 64)) << 64
    everyone = "g"  # above every hexadecimal digit
    return tables.people.filter(drawn < (everyone if leaf.share == 1 else f"{bound:032x}"))


def _trait(leaf: Trait, tables: Tables) -> Any:
    if not {leaf.name, leaf.validated_by or leaf.name} <= tables.declared.traits.keys():
        raise _behind()
    source = _counted(tables, leaf.name, leaf.expires)
    source = source.mutate(value=source[VALUE_COLUMN[leaf.type]], rank=_rank(source))
    return _RULES.get(leaf.survivorship, _compared)(leaf, source, tables)


def _counted(tables: Tables, name: str, expires: int | None) -> Any:
    """Return the observations of a trait that still count."""
    conditions = [tables.traits.name == name]
    if expires is not None:
        today = evaluated_at() - evaluated_at() % DAY
        conditions.append(tables.traits.observed_at >= today - expires * DAY)
    return tables.traits.filter(*conditions)


def _rank(source: Any) -> Any:
    """Return the place of an observation in the order."""
    return source.observed_at.cast(_WIDE) * _TIES + source.tie


def _ranked(leaf: Trait, source: Any, tables: Tables) -> Any:
    """Return the profiles of whom the value with the highest ``rank`` fits.

    The winner fits when the best that fits is the best: comparing two maxima is much faster than carrying
    the winner's value along.
    """
    fits = _fits(leaf, source)
    return _best(_mapped(source.select("identity_no", "rank", fits=fits), tables))


def _fits(leaf: Trait, source: Any) -> Any:
    return ibis.ifelse(_compare(source.value, leaf.op, leaf.value), source["rank"], ibis.null())


def _best(facts: Any) -> Any:
    best = facts.group_by("profile_no").aggregate(best=facts["rank"].max(), fits=facts.fits.max())
    return best.filter(best.fits == best.best).select("profile_no")


def _most_trusted(leaf: Trait, source: Any, tables: Tables) -> Any:
    trust = tables.trust.filter(tables.trust.name == leaf.name).select("source_id", trust="rank")
    joined = source.left_join(trust, "source_id")
    rank = joined.trust.coalesce(0).cast(_WIDE) * _INSTANTS * _TIES + joined["rank"]
    return _ranked(leaf, joined.mutate(rank=rank), tables)


def _validated(leaf: Trait, source: Any, tables: Tables) -> Any:
    """Put the validated observations first: each is followed by what its source then says of it."""
    flags = _counted(tables, leaf.validated_by, leaf.flag_expires)
    flags = flags.filter(flags.value_boolean.notnull())
    columns = ["identity_no", "source_id", "observed_at", "tie", "rank", "value", "flag"]
    none = ibis.null(source.value.type())
    words = ibis.union(
        source.mutate(flag=ibis.null("boolean"))[columns],
        flags.mutate(rank=_rank(flags), value=none, flag=flags.value_boolean)[columns],
    )
    said = _mapped(words, tables)
    # of one event the values first, then what is said of them
    turns = ibis.window(
        group_by=["profile_no", "source_id"],
        order_by=["observed_at", said.tie // _MARKS, said.flag.notnull(), "tie"],
        preceding=None,
        following=0,
    )
    said = said.mutate(about=said.flag.isnull().cast("int64").sum().over(turns))
    told = said.filter(said.about > 0).group_by("profile_no", "source_id", "about")
    stated, last = said.flag.isnull(), said["rank"].max(where=said.flag.notnull())
    found = told.aggregate(
        own=said["rank"].max(where=stated),
        value=said.value.max(where=stated),
        valid=(said["rank"].max(where=said.flag) == last).fill_null(False),
    )
    rank = found.valid.cast("int64").cast(_WIDE) * _INSTANTS * _TIES + found.own
    found = found.mutate(rank=rank)
    return _best(found.mutate(fits=_fits(leaf, found)))


def _longest_lived(leaf: Trait, source: Any, tables: Tables) -> Any:
    facts = _mapped(source.select("identity_no", "source_id", "observed_at", "rank", "value"), tables)
    following = facts.observed_at.lead().over(group_by=["profile_no", "source_id"], order_by="rank")
    newest = facts.observed_at.max().over(group_by="profile_no")
    held = facts.mutate(
        span=following.coalesce(newest) - facts.observed_at,
        alone=ibis.ifelse(facts.value.isnull(), facts["rank"], ibis.null()),
    )
    said = held.group_by("profile_no", "value", "alone").aggregate(
        held=held.span.sum().cast(_WIDE), last=held["rank"].max()
    )
    return _first_by(leaf, said, "held")


def _compared(leaf: Trait, source: Any, tables: Tables) -> Any:
    """Fold by a rule in which only what can be read takes part."""
    facts = _mapped(source.filter(source.value.notnull()).select("identity_no", "rank", "value"), tables)
    if leaf.survivorship == "union":
        return facts.filter(_compare(facts.value, leaf.op, leaf.value)).select("profile_no").distinct()
    if leaf.survivorship == "most_frequent":
        counted = {"times": facts.count(), "last": facts["rank"].max()}
        return _first_by(leaf, facts.group_by("profile_no", "value").aggregate(**counted), "times")
    amount = {"min": facts.value.min, "max": facts.value.max, "sum": facts.value.sum}[leaf.survivorship]()
    if leaf.survivorship == "sum":  # a greater one has no sixth decimal, and DuckDB's round would spoil it
        amount = ibis.cases(
            (amount.isinf(), ibis.null()), (amount.abs() < FINE, amount.round(_DECIMALS)), else_=amount
        )
    folded = facts.group_by("profile_no").aggregate(value=amount)
    return folded.filter(_compare(folded.value, leaf.op, leaf.value)).select("profile_no")


def _first_by(leaf: Trait, said: Any, score: str) -> Any:
    """Return the profiles of whom the value with the highest score fits; of several the one said last."""
    fits = _compare(said.value, leaf.op, leaf.value).fill_null(False)
    row = ibis.struct({"score": said[score], "last": said["last"], "fits": fits})
    best = said.group_by("profile_no").aggregate(best=row.max())
    return best.filter(best.best["fits"]).select("profile_no")


_RULES: dict[Survivorship, Callable[[Trait, Any, Tables], Any]] = {
    "most_recent": _ranked,
    "most_trusted": _most_trusted,
    "validated": _validated,
    "longest_lived": _longest_lived,
}


def _event(leaf: Event, tables: Tables) -> tuple[Any, bool]:
    events = tables.events
    conditions = [events.name == leaf.name, events.type == leaf.type]
    if leaf.within is not None:
        conditions += [
            events.occurred_at >= evaluated_at() - leaf.within,
            events.occurred_at <= evaluated_at(),
        ]
    if leaf.start is not None:
        conditions.append(events.occurred_at >= leaf.start)
    if leaf.end is not None:
        conditions.append(events.occurred_at < leaf.end)
    for item in leaf.where:
        conditions.append(_compare(_column(tables, item.property), item.op, item.value))
    source = events.filter(*conditions)
    wanted = leaf.aggregate
    if wanted is None:
        return _mapped(source.select("identity_no"), tables).select("profile_no").distinct(), False
    if not wanted.property:
        facts = _mapped(source.select("identity_no"), tables)
        amount = facts.count()
    else:
        value = (
            source[event_column(wanted.property)] if _column(tables, wanted.property) is not None else None
        )
        facts = _mapped(source.select("identity_no", "occurred_at", value=value), tables)
        if wanted.function in {"first", "last"}:
            facts = facts.filter(facts.value.notnull())
        amount = _amount(wanted, facts)
    grouped = facts.group_by("profile_no").aggregate(amount=amount)
    holds = _compare(grouped.amount, wanted.op, wanted.value)
    if wanted.function in {"count", "distinct"} and _holds_of_zero(wanted):
        return grouped.filter(~holds).select("profile_no"), True
    return grouped.filter(holds).select("profile_no"), False


def _amount(wanted: Aggregate, facts: Any) -> Any:
    if wanted.function == "sum":
        return facts.value.sum().round(_DECIMALS)
    if wanted.function == "avg":
        return facts.value.mean().round(_DECIMALS)
    if wanted.function == "min":
        return facts.value.min()
    if wanted.function == "max":
        return facts.value.max()
    if wanted.function == "distinct":
        return facts.value.nunique()
    row = ibis.struct({"occurred_at": facts.occurred_at, "value": facts.value})
    return (row.min() if wanted.function == "first" else row.max())["value"]


def _mapped(facts: Any, tables: Tables) -> Any:
    """Replace ``identity_no`` by ``profile_no``; an identity without a row is its own profile."""
    joined = facts.left_join(tables.members, "identity_no")
    kept = [name for name in facts.columns if name != "identity_no"]
    return joined.select(*kept, profile_no=joined.profile_no.coalesce(joined.identity_no))


def _column(tables: Tables, name: str) -> Any:
    if name not in tables.declared.properties:
        raise _behind()
    return tables.events[event_column(name)]


def _compare(column: Any, op: str, value: Value) -> Any:
    """Return the comparison; it is never true of NULL, except that ``exists: false`` is."""
    if isinstance(value, tuple):
        return column.between(*value) if op == "between" else column.isin(value)
    if op == "exists":
        return column.notnull() if value else column.isnull()
    if op == "contains":
        return column.contains(value)
    if op == "starts_with":
        return column.startswith(value)
    return {
        "eq": column.__eq__,
        "ne": column.__ne__,
        "lt": column.__lt__,
        "lte": column.__le__,
        "gt": column.__gt__,
        "gte": column.__ge__,
    }[op](value)


def _holds_of_zero(wanted: Aggregate) -> bool:
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


def _behind() -> UnavailableError:
    return UnavailableError("the warehouse was not refreshed since this field was declared; try again soon")
