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

from collections.abc import Callable, Collection, Sequence

from cdp.consent.model import Member


def anybody(_speaker: int, _member: Member) -> bool:
    """Say of every speaker that what it said stands for whoever came with it."""
    return True


def carried(
    members: Sequence[Member],
    speakers: Collection[int],
    stands_for: Callable[[int, Member], bool] = anybody,
) -> set[int]:
    """Return who among ``members`` is carried by one of ``speakers``, those included.

    :param members: those who may be carried.
    :param stands_for: whether what a speaker said is for this member too.
    """
    by = {speaker: {speaker} for speaker in speakers}
    silent = [member for member in members if member.identity_no not in by]
    grown = True
    while grown:
        grown = False
        for member in silent:
            found = {
                speaker
                for other, verified in member.came_with.items()
                if verified
                for speaker in by.get(other, ())
                if stands_for(speaker, member)
            }
            if not found <= by.get(member.identity_no, set()):
                by.setdefault(member.identity_no, set()).update(found)
                grown = True
    return set(by)
