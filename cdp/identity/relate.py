"""relate: what consent must know of the members of a profile. Pure.

Invariants: two members are linked since the moment at which the last of the links between them was accepted,
never since their evidence was seen. A member came with those that its own first event named, by links that
stand; not with whoever they were linked to, then or later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter

from cdp.clock import Micros
from cdp.consent import Member
from cdp.identity.model import Candidate, Identifier, Pair


def relate(
    profile: Sequence[Identifier],
    seen: Iterable[Candidate],
    since: Mapping[Pair, Micros],
    is_device: Callable[[str], bool],
) -> list[Member]:
    """Return the members of one profile, each with the time at which it became linked to each other.

    Links are walked in the order in which they were accepted; when one unites two groups, every pair
    across them is linked from then on.

    :param seen: candidates that stand, of these identities and others.
    :param since: pair → when its link was accepted.
    """
    numbers = {item.identity_no for item in profile}
    linked: dict[int, dict[int, int]] = {number: {} for number in numbers}
    group = {number: [number] for number in numbers}
    for (low, high), at in sorted(since.items(), key=itemgetter(1)):
        if low not in numbers or high not in numbers or group[low] is group[high]:
            continue
        left, right = group[low], group[high]
        for a in left:
            for b in right:
                linked[a][b] = linked[b][a] = at
        left += right
        for number in right:
            group[number] = left
    named: dict[bytes, dict[int, bool]] = defaultdict(dict)
    for candidate in seen:
        if candidate.pair in since and numbers.issuperset(candidate.pair):
            named[candidate.event_id].update(dict.fromkeys(candidate.pair, candidate.verified))
    return [
        Member(
            identity_no=item.identity_no,
            device=is_device(item.type),
            linked_at=linked[item.identity_no],
            came_with={
                number: verified
                for number, verified in named.get(item.first_event_id, {}).items()
                if number != item.identity_no and item.identity_no in named[item.first_event_id]
            },
            seen_at=item.created_at,
        )
        for item in profile
    ]
