"""What a change of links comes to: pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import msgspec

from cdp.identity.model import Candidate, Pair, Plan, Resolution


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a steward asks for.

    :param named: identities of the profiles that it is about.
    :param pairs: what the plan shows of ``revoked`` or ``admitted``.
    :param extra: candidates by the steward's word, all of which the rules have to accept.
    :param kept: links that have to stand afterwards.
    :param refused: reason → 1 of what is refused before anything is decided.
    """

    action: str
    named: frozenset[int]
    pairs: Collection[Pair]
    revoked: Collection[Pair] = ()
    admitted: Collection[Pair] = ()
    extra: tuple[Candidate, ...] = ()
    kept: Collection[Pair] = ()
    refused: Mapping[str, int] = {}


def plan(
    profile_of: Mapping[int, int],
    standing: Collection[Pair],
    outcome: Resolution,
    change: Change,
    *,
    done: bool,
) -> Plan:
    """Return what a change comes to.

    :param profile_of: identity_no → profile_no before, of whole components.
    :param standing: the links that stand before.
    :param outcome: what the rules make of them with the change.
    """
    before, after = groups(profile_of), groups(outcome.profile_of)
    touched = {profile_of[number] for number in change.named}
    touched |= {no for no in before.keys() & after.keys() if before[no] != after[no]}
    touched |= before.keys() - after.keys()
    shown = {no: members for no, members in before.items() if no in touched}
    people = {number for members in shown.values() for number in members}
    accepted = {one.candidate.pair for one in outcome.decisions if one.accepted}
    aside = [one for one in outcome.decisions if not one.accepted and one.reason != "suppressed"]
    needed = {*change.kept, *(one.pair for one in change.extra)}
    return Plan(
        before=shown,
        after={no: members for no, members in after.items() if people.intersection(members)},
        pairs=tuple(sorted(change.pairs)),
        gone=tuple(sorted(set(standing) - accepted)),
        made=tuple(sorted(accepted - set(standing))),
        set_aside=tuple(
            sorted((one.candidate.pair, one.reason) for one in aside if people & set(one.candidate.pair))
        ),
        refused={**change.refused, **{one.reason: 1 for one in aside if one.candidate.pair in needed}},
        done=done,
    )


def groups(profile_of: Mapping[int, int]) -> dict[int, tuple[int, ...]]:
    """Return profile_no → its identities, ascending."""
    found: dict[int, list[int]] = defaultdict(list)
    for number in sorted(profile_of):
        found[profile_of[number]].append(number)
    return {profile_no: tuple(numbers) for profile_no, numbers in found.items()}


def across(some: Collection[int], others: Collection[int]) -> set[Pair]:
    """Return every pair of one of ``some`` and one of ``others``."""
    return {(min(a, b), max(a, b)) for a in some for b in others}
