"""resolve: candidates → accepted links → profiles. Pure.

Invariants: the outcome is a function of the *set* of candidates, the rules and the suppressions; the
order in which candidates arrived has no part in it. Whose word a candidate is has no part in what is
accepted, only in what is named as its evidence, apart from matches: guesses come after all that was told. Accepted links form a forest per profile, plus
links between identities that were one already.

Steps: 1. keep the earliest candidate of each pair. 2. Walk the pairs in candidate order. 3. Set a pair
aside when it is suppressed, or when the union would hold two values of a unique type, more values of a
type than its limit, or more identities than the cap. 4. Otherwise unite. 5. Number each component by
its smallest identity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from cdp.identity.model import Candidate, Decision, Pair, Resolution
from cdp.policy import IdentityRules


def resolve(
    types: Mapping[int, str],
    candidates: Iterable[Candidate],
    suppressed: Collection[Pair],
    rules: IdentityRules,
) -> Resolution:
    """Decide every candidate of one component.

    :param types: identity_no → identifier type, for every identity of the component.
    :param suppressed: pairs that a steward revoked.
    """
    earliest: dict[Pair, Candidate] = {}
    evidence: dict[Pair, Candidate] = {}
    for candidate in candidates:  # 1
        pair = candidate.pair
        earliest[pair] = min(candidate, earliest.get(pair, candidate), key=_order)
        evidence[pair] = min(candidate, evidence.get(pair, candidate), key=_weight)
    groups = _Groups(types)
    held_types = {number: Counter((kind,)) for number, kind in types.items()}
    decisions = []
    for candidate in sorted(earliest.values(), key=_order):  # 2
        a, b = groups.roots(candidate.pair)
        if candidate.pair in suppressed:  # 3
            reason = "suppressed"
        elif a == b:
            reason = "accepted"
        else:
            union = held_types[a] + held_types[b]
            reason = _conflict(union, held_types[a], held_types[b], rules) or "accepted"
            if reason == "accepted":  # 4
                groups.unite(a, b)
                held_types[a] = union
        told = evidence[candidate.pair]
        decisions.append(Decision(candidate=told, accepted=reason == "accepted", reason=reason))
    return Resolution(profile_of=groups.by_number(), decisions=tuple(decisions))  # 5


def components(numbers: Iterable[int], pairs: Iterable[Pair]) -> dict[int, int]:
    """Return number → the smallest of those that pairs connect it to, itself included."""
    groups = _Groups(numbers)
    for pair in pairs:
        groups.unite(*groups.roots(pair))
    return groups.by_number()


def _order(candidate: Candidate) -> tuple[bool, Candidate]:
    return candidate.order


def _weight(candidate: Candidate) -> tuple[bool, bool, Candidate]:
    return not candidate.verified, *candidate.order


class _Groups:
    """Numbers in disjoint groups; the root of a group is its smallest number."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._parent = {number: number for number in numbers}

    def _root(self, number: int) -> int:
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    def roots(self, pair: Pair) -> tuple[int, int]:
        """Return the roots of both, the smaller first."""
        a, b = self._root(pair[0]), self._root(pair[1])
        return (a, b) if a <= b else (b, a)

    def unite(self, a: int, b: int) -> None:
        """Make two groups one, given their roots, the smaller first."""
        self._parent[b] = a

    def by_number(self) -> dict[int, int]:
        """Return number → root."""
        return {number: self._root(number) for number in self._parent}


def _conflict(
    union: Counter[str], left: Counter[str], right: Counter[str], rules: IdentityRules
) -> str | None:
    """Return why two components may not unite, None when they may."""
    for kind in left.keys() | right.keys():
        rule = rules.of(kind)
        if rule is None:
            continue
        if rule.unique and union[kind] > 1:
            return f"unique:{kind}"
        if rule.limit is not None and union[kind] > rule.limit.count:
            return f"limit:{kind}"
    return "cap" if union.total() > rules.profile_cap else None
