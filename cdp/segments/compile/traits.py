"""traits: comparisons of one folded trait, found in one pass over its observations.

A trait is folded exactly as ``cdp.profiles.fold`` defines its rule, observations without a clear value
included.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import ibis  # type: ignore[import-untyped]  # publishes no types

from cdp.clock import DAY
from cdp.policy import Survivorship
from cdp.profiles import CORRECTION
from cdp.segments.compile.common import WIDE, Found, behind, compare, flagged, mapped, max_by, rounded
from cdp.segments.definition import Trait
from cdp.warehouse import VALUE_COLUMN, Tables, evaluated_at

_Leaves = Sequence[Trait]
_Folded = tuple[Any, list[Any]]  # one row a profile, and for each leaf whether it is found
_TIES = 1 << 48  # a rank packs trust | instant (60 bits) | tie (48 bits) into one number
_MARKS = 1 << 16  # the part of a tie that tells what one event says twice
_INSTANTS = 1 << 60


def trait_pass(leaves: Sequence[Trait], tables: Tables) -> Found:
    """Return the query of leaves that compare one trait, folded by one rule."""
    leaf = leaves[0]
    if not {leaf.name, leaf.validated_by or leaf.name} <= tables.declared.traits.keys():
        raise behind()
    source = _counted(tables, leaf.name, leaf.expires)
    source = source.mutate(value=source[VALUE_COLUMN[leaf.type]], rank=_rank(source))
    folded, holds = _RULES.get(leaf.survivorship, _compared)(leaves, source, tables)
    return Found.of(folded, holds, [_is_absence(one) for one in leaves])


def _is_absence(leaf: Trait) -> bool:
    """``exists: false``, which is also true of a profile without any observation."""
    return leaf.op == "exists" and leaf.value is False


def _compare(leaf: Trait, value: Any) -> Any:
    """Return whether the pass finds a profile with this value: of an absence, whether there is one."""
    return value.notnull() if _is_absence(leaf) else compare(value, leaf.op, leaf.value)


def _counted(tables: Tables, name: str, expires: int | None) -> Any:
    """Return the observations of a trait that still count."""
    conditions = [tables.traits.name == name]
    if expires is not None:
        today = evaluated_at() - evaluated_at() % DAY
        conditions.append(tables.traits.observed_at >= today - expires * DAY)
    return _corrected(tables, tables.traits.filter(*conditions))


def _corrected(tables: Tables, counted: Any) -> Any:
    """Return of whom a correction counts the newest alone; of all others everything.

    Of those whom nobody corrected the join finds nothing, and with nobody corrected it has nothing to find.
    """
    said = counted.filter(counted.source_id == CORRECTION)
    said = mapped(said.select("identity_no", held=_rank(said)), tables)
    newest = said.group_by("profile_no").aggregate(held=said.held.max())
    members = tables.members.inner_join(newest, "profile_no").select("identity_no", "held")
    people = ibis.union(members, newest.select(identity_no=newest.profile_no, held=newest.held))
    joined = counted.left_join(people, "identity_no")
    kept = joined.filter(joined.held.isnull() | (_rank(joined) == joined.held))
    return kept.select(*counted.columns)


def _rank(source: Any) -> Any:
    """Return the place of an observation in the order."""
    return source.observed_at.cast(WIDE) * _TIES + source.tie


def _ranked(leaves: _Leaves, source: Any, tables: Tables) -> _Folded:
    """Compare the value with the highest ``rank``.

    Whether it fits each leaf is one number, which is carried along: much faster than its value.
    """
    fits = _fits(leaves, source.value)
    return _best(leaves, mapped(source.select("identity_no", "rank", fits=fits), tables))


def _fits(leaves: _Leaves, value: Any) -> Any:
    """Return a number whose bit says which leaf a value fits."""
    return flagged([_compare(leaf, value) for leaf in leaves])


def _best(leaves: _Leaves, facts: Any) -> _Folded:
    best = facts.group_by("profile_no").aggregate(fits=max_by(facts.fits, facts["rank"]))
    return best, [(best.fits & (1 << place)) > 0 for place in range(len(leaves))]


def _most_trusted(leaves: _Leaves, source: Any, tables: Tables) -> _Folded:
    trust = tables.trust.filter(tables.trust.name == leaves[0].name).select("source_id", trust="rank")
    joined = source.left_join(trust, "source_id")
    rank = joined.trust.coalesce(0).cast(WIDE) * _INSTANTS * _TIES + joined["rank"]
    return _ranked(leaves, joined.mutate(rank=rank), tables)


def _validated(leaves: _Leaves, source: Any, tables: Tables) -> _Folded:
    """Put the validated observations first: each is followed by what its source then says of it."""
    flags = _counted(tables, leaves[0].validated_by, leaves[0].flag_expires)
    flags = flags.filter(flags.value_boolean.notnull())
    columns = ["identity_no", "source_id", "observed_at", "tie", "rank", "value", "flag"]
    none = ibis.null(source.value.type())
    words = ibis.union(
        source.mutate(flag=ibis.null("boolean"))[columns],
        flags.mutate(rank=_rank(flags), value=none, flag=flags.value_boolean)[columns],
    )
    said = mapped(words, tables)
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
    rank = found.valid.cast("int64").cast(WIDE) * _INSTANTS * _TIES + found.own
    found = found.mutate(rank=rank)
    return _best(leaves, found.mutate(fits=_fits(leaves, found.value)))


def _longest_lived(leaves: _Leaves, source: Any, tables: Tables) -> _Folded:
    facts = mapped(source.select("identity_no", "source_id", "observed_at", "rank", "value"), tables)
    following = facts.observed_at.lead().over(group_by=["profile_no", "source_id"], order_by="rank")
    newest = facts.observed_at.max().over(group_by="profile_no")
    held = facts.mutate(
        span=following.coalesce(newest) - facts.observed_at,
        alone=ibis.ifelse(facts.value.isnull(), facts["rank"], ibis.null()),
    )
    said = held.group_by("profile_no", "value", "alone").aggregate(
        held=held.span.sum().cast(WIDE), last=held["rank"].max()
    )
    return _first_by(leaves, said, "held")


def _compared(leaves: _Leaves, source: Any, tables: Tables) -> _Folded:
    """Fold by a rule in which only what can be read takes part."""
    rule = leaves[0].survivorship
    facts = mapped(source.filter(source.value.notnull()).select("identity_no", "rank", "value"), tables)
    if rule == "union":
        fits = {f"fits_{place}": _compare(leaf, facts.value).any() for place, leaf in enumerate(leaves)}
        folded = facts.group_by("profile_no").aggregate(**fits)
        return folded, [folded[name] for name in fits]
    if rule == "most_frequent":
        counted = {"times": facts.count(), "last": facts["rank"].max()}
        return _first_by(leaves, facts.group_by("profile_no", "value").aggregate(**counted), "times")
    amount = {"min": facts.value.min, "max": facts.value.max, "sum": facts.value.sum}[rule]()
    if rule == "sum":  # what no float can hold is no value; Ibis has no isinf for Spark
        amount = ibis.ifelse(amount.abs() > sys.float_info.max, ibis.null(), rounded(amount))
    folded = facts.group_by("profile_no").aggregate(value=amount)
    return folded, [_compare(leaf, folded.value) for leaf in leaves]


def _first_by(leaves: _Leaves, said: Any, score: str) -> _Folded:
    """Compare the value with the highest score; of several the one said last."""
    fits = {f"fits_{place}": _compare(leaf, said.value).fill_null(False) for place, leaf in enumerate(leaves)}
    row = ibis.struct({"score": said[score], "last": said["last"], **fits})
    best = said.group_by("profile_no").aggregate(best=row.max())
    return best, [best.best[name] for name in fits]


_RULES: dict[Survivorship, Callable[[_Leaves, Any, Tables], _Folded]] = {
    "most_recent": _ranked,
    "most_trusted": _most_trusted,
    "validated": _validated,
    "longest_lived": _longest_lived,
}
