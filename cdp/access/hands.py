"""hands: whether two keys may be in one hand. Pure.

Invariant: what is not known counts against two people. Of keys from before makers were recorded one may
have made any other, so all of them, and what they made, are in one hand.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import msgspec

UNKNOWN_MAKER = 0
"""Stands among the hands of a key for a maker that nobody recorded; no key has this number."""


class OneHand(msgspec.Struct, frozen=True):
    """Why two keys do not count as two people's.

    :param reason: a short code, for the audit log.
    """

    reason: str
    message: str


_SAME = OneHand(
    "same_hands",
    "whoever proposed these policies may hold this key, too: it is the same, one of the two made the other, "
    "or another made both; a second officer approves",
)
_UNKNOWN = OneHand(
    "unknown_maker",
    "both keys go back to before who made a key was recorded, so one may have made the other: they count as "
    "one officer's; make a new key for each officer with the operator's key (cdp key create --role officer) "
    "and revoke the old ones",
)


def one_hand(mine: AbstractSet[int], theirs: AbstractSet[int]) -> OneHand | None:
    """Return why two keys may be one person's; None when they are two people's.

    :param mine: ``AccessService.hands`` of the one key; empty for one that is nobody's.
    :param theirs: of the other.
    """
    if mine & theirs == {UNKNOWN_MAKER}:
        return _UNKNOWN
    return None if mine and theirs and mine.isdisjoint(theirs) else _SAME
