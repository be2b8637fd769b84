"""resolve: candidates → accepted links → profiles. Pure.

Invariants: the outcome is a function of the *set* of candidates, the rules and the suppressions; the
order in which candidates arrived has no part in it. Whose word a candidate is has no part in what is
accepted, only in what is named as its evidence, apart from matches: guesses come after all that was told;
and from aliases: two values of one type that a trusted word calls one count as one, whenever it was said.
But an older id is that of one user: an alias that gives it to a second (a device that two people signed in
on, one after the other) makes no two users one.
Accepted links form a forest per profile, plus links between identities that were one already.

Steps: 1. keep the earliest candidate of each pair. 2. Walk the pairs in candidate order. 3. Set a pair
aside when it is suppressed, or when the union would hold two values of a unique type, more values of a
type than its limit, or more identities than the cap. 4. Otherwise unite. 5. Number each component by
its smallest identity.

A value counts for the limit of a period in the UTC day or month of the candidate that first linked it. A
pair with a type of such a limit is considered again by its earliest candidate of each day or month.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from typing import NamedTuple

from cdp.clock import DAY, Micros, day
from cdp.identity.model import Candidate, Decision, Pair, Resolution
from cdp.policy import IdentityRules, Period

_Key = tuple[str, int]
"""What is counted: a type, and the day or month in which its values were linked (0 for ever)."""


def resolve(
    types: Mapping[int, str],
    candidates: Iterable[Candidate],
    suppressed: Container[Pair],
    rules: IdentityRules,
) -> Resolution:
    """Decide every candidate of one component.

    :param types: identity_no → identifier type, for every identity of the component.
    :param suppressed: pairs that a steward revoked.
    """
    earliest, verified, named_one = _gathered(types, candidates, suppressed, rules)  # 1
    groups = Groups(types)
    hold = _Holding(types, _same(named_one.values()), rules)
    decided: dict[Pair, Decision] = {}
    for (pair, _), candidate in earliest.items():  # 2
        before = decided.get(pair)
        if before is not None and before.accepted:
            continue
        a, b = groups.roots(pair)
        if pair in suppressed:  # 3
            reason = "suppressed"
        elif a == b:
            reason = "accepted"
        else:
            reason = hold.unite(a, b, candidate.occurred_at) or "accepted"
            if reason == "accepted":  # 4
                groups.unite(a, b)
        if before is None or reason == "accepted":
            told = candidate if before is not None and candidate.verified else verified.get(pair, candidate)
            decided[pair] = Decision(candidate=told, accepted=reason == "accepted", reason=reason)
    return Resolution(profile_of=groups.by_number(), decisions=tuple(decided.values()))  # 5


def _gathered(
    types: Mapping[int, str],
    candidates: Iterable[Candidate],
    suppressed: Container[Pair],
    rules: IdentityRules,
) -> tuple[dict[tuple[Pair, int], Candidate], dict[Pair, Candidate], dict[Pair, Candidate]]:
    """Return the earliest candidates: of a pair in a period; of a pair, verified; calling both one value."""
    earliest: dict[tuple[Pair, int], Candidate] = {}
    verified: dict[Pair, Candidate] = {}
    named_one: dict[Pair, Candidate] = {}
    recurs = rules.recurs
    for candidate in _ordered(candidates):
        pair, turn = candidate.pair, 0
        if recurs:
            turn = period_no(rules.period_of(types[number] for number in pair), candidate.occurred_at)
        earliest.setdefault((pair, turn), candidate)
        if candidate.verified:
            verified.setdefault(pair, candidate)
            if candidate.weight == 2 and types[pair[0]] == types[pair[1]] and pair not in suppressed:
                named_one.setdefault(pair, candidate)
    return earliest, verified, named_one


def components(numbers: Iterable[int], pairs: Iterable[Pair]) -> dict[int, int]:
    """Return number → the smallest of those that pairs connect it to, itself included."""
    return linked(numbers, pairs).by_number()


def linked(numbers: Iterable[int], pairs: Iterable[Pair]) -> Groups:
    """Return the groups that pairs make of numbers."""
    groups = Groups(numbers)
    for pair in pairs:
        groups.unite(*groups.roots(pair))
    return groups


def fitting(
    candidates: Iterable[Candidate], cluster_of: Mapping[int, int], size: Mapping[int, int], cap: int
) -> list[Candidate]:
    """Return the candidates that connect at most ``cap`` identities, those considered first winning.

    :param cluster_of: identity_no → its component; one that is not there is alone.
    :param size: component → how many identities it has; 1 where it is not there.
    """
    found = []
    sizes = dict(size)
    root: dict[int, int] = {}
    for candidate in _ordered(candidates):
        a, b = (cluster_of.get(number, number) for number in candidate.pair)
        while a in root:
            a = root[a]
        while b in root:
            b = root[b]
        if a != b:
            both = sizes.get(a, 1) + sizes.get(b, 1)
            if both > cap:
                continue
            small, large = sorted((a, b), key=lambda one: sizes.get(one, 1))
            root[small] = large
            sizes[large] = both
        found.append(candidate)
    return found


def _ordered(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return candidates in their ``order``; none is given a key of its own, as there may be many."""
    told: list[Candidate] = []
    matches: list[Candidate] = []
    for candidate in candidates:
        (matches if candidate.origin == "match" else told).append(candidate)
    return sorted(told) + sorted(matches)


def _same(named_one: Iterable[Candidate]) -> set[Pair]:
    """Return the pairs whose values count as one, of candidates in their order that say so."""
    newer: dict[int, int] = {}
    same = set()
    for candidate in named_one:
        older, other = candidate.pair if candidate.position % 2 else candidate.pair[::-1]
        if candidate.origin == "index" or newer.setdefault(older, other) == other:
            same.add(candidate.pair)
    return same


class Groups:
    """Numbers in disjoint groups; the root of a group is its smallest number."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._parent = {number: number for number in numbers}

    def root(self, number: int) -> int:
        """Return the root of the group of a number."""
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    def roots(self, pair: Pair) -> tuple[int, int]:
        """Return the roots of both, the smaller first."""
        a, b = self.root(pair[0]), self.root(pair[1])
        return (a, b) if a <= b else (b, a)

    def unite(self, a: int, b: int) -> None:
        """Make two groups one, given their roots, the smaller first."""
        self._parent[b] = a

    def by_number(self) -> dict[int, int]:
        """Return number → root."""
        return {number: self.root(number) for number in self._parent}


class _Bound(NamedTuple):
    """How many values of a type one profile may hold, and why no more.

    :param period: ``ever``, or in which each is counted.
    """

    most: int
    period: Period
    priority: int
    reason: str


class _Held:
    """What one group holds: its size, how much of what is bounded, and as what its aliased values count."""

    __slots__ = ("aliased", "counts", "size")

    def __init__(self, size: int, counts: dict[_Key, int], aliased: dict[int, _Key]) -> None:
        self.size = size
        self.counts = counts
        self.aliased = aliased


class _Holding:
    """What every group holds, and what it may not hold together with another.

    :param same: pairs of identities of one type whose values count as one.
    """

    def __init__(self, types: Mapping[int, str], same: Collection[Pair], rules: IdentityRules) -> None:
        self._types = types
        self._bounds = {kind: bound for kind in set(types.values()) if (bound := _bound(kind, rules))}
        self._cap = rules.profile_cap
        self._held: dict[int, _Held] = {}
        self._value = components({number for pair in same for number in pair}, same)

    def unite(self, a: int, b: int, at: Micros) -> str | None:
        """Make two groups one, given their roots, the smaller first; else return why they may not be one.

        :param at: when the candidate says that both were seen together.
        """
        small, large = self._of(a, at), self._of(b, at)
        if len(small.counts) > len(large.counts):
            small, large = large, small
        more = small.counts
        if small.aliased and large.aliased:
            more = dict(more)
            for value in small.aliased.keys() & large.aliased.keys():
                later = max(small.aliased[value], large.aliased[value])
                more[later] = more.get(later, 0) - 1  # it counts once, where it came first
        size = small.size + large.size
        reason = self._conflict(more, large.counts, size)
        if reason is None:
            for key, count in more.items():
                large.counts[key] = large.counts.get(key, 0) + count
            for value, key in small.aliased.items():
                large.aliased[value] = min(key, large.aliased.get(value, key))
            large.size = size
            self._held[a] = large
            self._held.pop(b, None)
        return reason

    def _of(self, root: int, at: Micros) -> _Held:
        """Return what a group holds; a value that nothing is linked to would be linked ``at``."""
        held = self._held.get(root)
        if held is not None:
            return held
        kind = self._types[root]
        bound = self._bounds.get(kind)
        if bound is None:
            return _Held(1, {}, {})
        key = kind, period_no(bound.period, at)
        return _Held(1, {key: 1}, {self._value[root]: key} if root in self._value else {})

    def _conflict(self, more: Mapping[_Key, int], held: Mapping[_Key, int], size: int) -> str | None:
        """Return why a group may not hold ``more``: of several bounds that of the highest priority."""
        over = [
            self._bounds[key[0]]
            for key, count in more.items()
            if key in held and count + held[key] > self._bounds[key[0]].most
        ]
        if over:
            return min(over, key=lambda bound: (bound.priority, bound.reason)).reason
        return "cap" if size > self._cap else None


def _bound(kind: str, rules: IdentityRules) -> _Bound | None:
    rule = rules.of(kind)
    if rule is None or not (rule.unique or rule.limit):
        return None
    if rule.unique or rule.limit is None:
        return _Bound(1, "ever", rule.priority, f"unique:{kind}")
    return _Bound(rule.limit.count, rule.limit.period, rule.priority, f"limit:{kind}")


def period_no(period: Period, at: Micros) -> int:
    """Return the number of the UTC day or month of an instant; 0 for ever."""
    if period == "ever":
        return 0
    if period == "daily":
        return at // DAY
    month = day(at)
    return month.year * 12 + month.month
