"""How many, as officers see it and as marketers do. Pure.

Exact counts add up: members = released + the sum of withheld. Noised ones (privacy.md, "Counts") are each
rounded and noised by the set that they count, so they do not add up; reasons of fewer than 10 people are
one, ``other``.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyroaring import BitMap

from cdp.gate.model import Counts
from cdp.segments import noised

OTHER = "other"
_FEW = 10


def exact(members: BitMap, released: BitMap, withheld: Mapping[str, BitMap]) -> Counts:
    """Return the sizes of the sets."""
    return Counts(
        members=len(members),
        released=len(released),
        withheld={reason: len(people) for reason, people in withheld.items() if people},
    )


def noisy(members: BitMap, released: BitMap, withheld: Mapping[str, BitMap], secret: bytes) -> Counts:
    """Return what may be shown to whoever must not single anybody out."""
    shown = {reason: people for reason, people in withheld.items() if len(people) >= _FEW}
    few = BitMap.union(BitMap(), *(people for reason, people in withheld.items() if reason not in shown))
    if few:
        shown[OTHER] = few
    return Counts(
        members=noised(members, secret),
        released=noised(released, secret),
        withheld={reason: noised(people, secret) for reason, people in sorted(shown.items())},
    )
