"""compile: leaves → Ibis → SQL, in passes that several leaves share.

Invariants: a pass's SQL depends on its leaves and the declared columns only. The moment of evaluation enters
as ``evaluated_at()``, so compiled passes are kept and reused. Facts belong to identities and are mapped to
profiles in the query, so a merge or split needs nothing recomputed. The same expression is compiled for
whichever engine the snapshot is on.

A pass yields ``profile_no`` and ``flags``, an integer whose bit ``i`` says that the pass's leaf ``i`` found
the profile. Leaves that read the same facts stand in one pass: the events of one name, the observations of
one trait, the beginnings of one sequence, all samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import ibis  # type: ignore[import-untyped]  # publishes no types
import msgspec
from pyroaring import BitMap

from cdp.clock import Micros
from cdp.segments.compile.common import Found
from cdp.segments.compile.crossing import ahead, crossing
from cdp.segments.compile.deciding import deciding
from cdp.segments.compile.events import amounts, event_pass, ratio_pass, ratios
from cdp.segments.compile.sequences import begins, sequence_pass
from cdp.segments.compile.traits import trait_pass
from cdp.segments.definition import Asked, Event, Ratio, Sample, Trait
from cdp.segments.definition import Sequence as Steps
from cdp.segments.edges import scan
from cdp.warehouse import Columns, Focus, Snapshot, Tables, bitmap, flagged

_SHARED = 16  # leaves in one pass, at first: each costs memory for everybody that the pass meets
_KEPT = 10_000
_APART = {"distinct", "first", "last", "most_frequent"}  # leaves by these share the scan of one property only


class Compiled(msgspec.Struct, frozen=True):
    """One pass.

    :param sql: yields ``profile_no`` and ``flags``.
    :param complements: for each leaf, whether it holds for everyone whom the query does *not* flag
        (``count: {lt: 2}``).
    """

    leaves: tuple[Asked, ...]
    sql: str
    complements: tuple[bool, ...]

    def shown(self) -> str:
        """Return the query with what its flags mean."""
        told = (
            f"-- flag {1 << bit}: {'everyone but' if complement else 'profiles of'} "
            f"{msgspec.json.encode(leaf).decode()}"
            for bit, (leaf, complement) in enumerate(zip(self.leaves, self.complements, strict=True))
        )
        return "\n".join([*told, f"{self.sql};"])


class Compiler:
    """Compiles passes and keeps what it compiled."""

    def __init__(self) -> None:
        self._shared = _SHARED
        self._kept: dict[tuple[str, tuple[Asked, ...]], Compiled] = {}
        self._declared: Any = None

    def __call__(self, leaves: Iterable[Asked], tables: Tables, dialect: str) -> list[Compiled]:
        """Return the passes that find these leaves, each leaf in one.

        :param leaves: without points of the calendar (``definition.settled``).
        :param dialect: of the SQL, as Ibis calls it.
        :raises UnavailableError: the warehouse has not yet been refreshed since a field was declared.
        """
        if self._declared != tables.declared or len(self._kept) > _KEPT:
            self._kept, self._declared = {}, tables.declared
        found = []
        for group in _groups(leaves, self._shared):
            kept = self._kept.get((dialect, group))
            if kept is None:
                expression = express(group, tables)
                sql = str(ibis.to_sql(expression.table, dialect=dialect, pretty=True))
                kept = Compiled(group, sql, expression.complements)
                self._kept[dialect, group] = kept
            found.append(kept)
        return found

    def narrow(self) -> None:
        """Let half as many leaves share a pass from now on."""
        self._shared = max(1, self._shared // 2)


def find(passes: Sequence[Compiled], snapshot: Snapshot | Focus, now: Micros) -> dict[Asked, BitMap]:
    """Run passes over a snapshot; returns the profiles that each leaf's query found.

    Of a leaf that is a complement, those are the profiles for which it does not hold.
    """
    found: dict[Asked, BitMap] = {}
    for start in range(0, len(passes), snapshot.together):
        part = passes[start : start + snapshot.together]
        union = "\nUNION ALL\n".join(
            f"SELECT {place} AS pass, profile_no, flags FROM ({one.sql}) AS p{place}"  # noqa: S608  # compiled SQL
            for place, one in enumerate(part)
        )
        looked = scan([leaf for one in part for leaf in one.leaves], now)
        columns = snapshot.run(union if len(part) > 1 else part[0].sql, now, looked)
        for place, one in enumerate(part):
            profiles, flags = columns["profile_no"], columns["flags"]
            if len(part) > 1:
                here = columns["pass"] == place
                profiles, flags = profiles[here], flags[here]
            if len(one.leaves) == 1:
                found[one.leaves[0]] = bitmap(profiles)
                continue
            sets = flagged(profiles, flags, len(one.leaves))
            found |= dict(zip(one.leaves, sets, strict=True))
    return found


def complemented(passes: Iterable[Compiled]) -> dict[Asked, bool]:
    """Return leaf → whether it holds for everyone whom its query does not find."""
    return {
        leaf: complement
        for one in passes
        for leaf, complement in zip(one.leaves, one.complements, strict=True)
    }


def express(leaves: tuple[Asked, ...], tables: Tables) -> Found:
    """Return the query of leaves that share a pass."""
    first = leaves[0]
    if isinstance(first, Sample):
        return Found.of(tables.people, [_drawn(leaf, tables) for leaf in leaves if isinstance(leaf, Sample)])
    if isinstance(first, Ratio):
        return ratio_pass(first, tables)
    if isinstance(first, Steps):
        return sequence_pass([leaf for leaf in leaves if isinstance(leaf, Steps)], tables)
    if isinstance(first, Trait):
        return trait_pass([leaf for leaf in leaves if isinstance(leaf, Trait)], tables)
    return event_pass([leaf for leaf in leaves if isinstance(leaf, Event)], tables)


def valued(leaf: Event | Ratio, snapshot: Snapshot | Focus, now: Micros) -> Columns:
    """Return ``profile_no`` and ``amount`` of everybody whose events amount to anything known."""
    found = ratios(leaf, snapshot.tables) if isinstance(leaf, Ratio) else amounts(leaf, snapshot.tables)
    known = found.filter(found.amount.notnull()).select("profile_no", "amount")
    return snapshot.run(str(ibis.to_sql(known, dialect=snapshot.dialect)), now, scan([leaf], now))


def _drawn(leaf: Sample, tables: Tables) -> Any:
    """Draw by MD5, the same on every engine and in every version of one."""
    drawn = (ibis.literal(f"{leaf.salt}:") + tables.people.profile_no.cast("string")).hexdigest("md5")
    bound = int(leaf.share * (1 << 64)) << 64
    everyone = "g"  # above every hexadecimal digit
    return drawn < (everyone if leaf.share == 1 else f"{bound:032x}")


def _groups(leaves: Iterable[Asked], most: int) -> list[tuple[Asked, ...]]:
    """Put leaves that read the same facts together, at most ``most``, in the order in which they came."""
    leaves = list(leaves)
    sequences = sorted({leaf for leaf in leaves if isinstance(leaf, Steps)}, key=lambda one: -len(one.steps))
    sharing: dict[Any, list[Asked]] = {}
    for leaf in leaves:
        shared = (
            next(one for one in sequences if begins(leaf, one)) if isinstance(leaf, Steps) else _shared(leaf)
        )
        sharing.setdefault(shared, []).append(leaf)
    return [
        tuple(group[start : start + most])
        for group in sharing.values()
        for start in range(0, len(group), most)
    ]


def _shared(leaf: Asked) -> Any:
    """Return what is the same for leaves of one pass."""
    if isinstance(leaf, Event):
        wanted = leaf.aggregate
        if wanted is None or wanted.function not in _APART:
            return "event", leaf.type, leaf.name, None
        often = wanted.function == "most_frequent"
        return "event", leaf.type, leaf.name, (wanted.property, wanted.zone, often)
    if isinstance(leaf, Trait):
        return msgspec.structs.replace(leaf, op="exists", value=True)
    return "sample" if isinstance(leaf, Sample) else leaf


__all__ = [
    "Compiled",
    "Compiler",
    "ahead",
    "complemented",
    "crossing",
    "deciding",
    "express",
    "find",
    "valued",
]
