"""For whom what others said is enough: pure (privacy.md, Consent, rules 3 and 5).

Somebody about whom nothing is on record was either somebody of their own before, whose silence is no yes, or
came with somebody: a server or import named both in the event in which it was first seen. Only the latter
is carried, by exactly those it came with, and by what carries those.

Invariants:

1. What an unsigned browser says of whom belongs with whom carries nobody: its key is public, so whoever types
   a stranger's address into a form would agree for the stranger.
2. A merge carries nobody: no link made later adds to what somebody came with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from cdp.clock import Micros
from cdp.consent.model import Member


def carried(members: Iterable[Member], speakers: Mapping[int, Micros]) -> set[int]:
    """Return who among ``members`` is carried by one of ``speakers``, those included.

    Whoever speaks for more goes first, so that nobody is looked at again once carried.

    :param members: those who may be carried.
    :param speakers: identity_no → what it said stands for those first seen then or later; 0: for anybody.
    """
    together: dict[int, list[Member]] = {}  # who came with the same: of one event, however many it names
    came: dict[int, list[list[Member]]] = defaultdict(list)
    for member in members:
        if member.identity_no in speakers:
            continue
        group = together.get(id(member.came_with))
        if group is None:
            group = together[id(member.came_with)] = []
            for other, verified in member.came_with.items():
                if verified:
                    came[other].append(group)
        group.append(member)
    found = set(speakers)
    for speaker, since in sorted(speakers.items(), key=lambda one: one[1]):
        waiting = [speaker]
        while waiting:
            for group in came.get(waiting.pop(), ()):
                fitting = [member.identity_no for member in group if member.seen_at >= since]
                group[:] = [member for member in group if member.seen_at < since]
                waiting += fitting
                found.update(fitting)
    return found
