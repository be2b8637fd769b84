"""resolve: candidates → accepted links → profiles. Pure.

Invariants: the outcome is a function of the *set* of candidates, the rules and the suppressions; the
order in which candidates arrived has no part in it. Accepted links form a forest per profile, plus
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
    for candidate in candidates:  # 1
        held = earliest.get(candidate.pair)
        if held is None or candidate < held:
            earliest[candidate.pair] = candidate
    parent = {number: number for number in types}
    held_types = {number: Counter((kind,)) for number, kind in types.items()}

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    decisions = []
    for candidate in sorted(earliest.values()):  # 2
        a, b = sorted((root(candidate.low), root(candidate.high)))
        if candidate.pair in suppressed:  # 3
            reason = "suppressed"
        elif a == b:
            reason = "accepted"
        else:
            union = held_types[a] + held_types[b]
            reason = _conflict(union, held_types[a], held_types[b], rules) or "accepted"
            if reason == "accepted":  # 4
                parent[b] = a
                held_types[a] = union
        decisions.append(Decision(candidate=candidate, accepted=reason == "accepted", reason=reason))
    profile_of = {number: root(number) for number in types}  # 5: a root is its component's smallest
    return Resolution(profile_of=profile_of, decisions=tuple(decisions))


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
