"""How many, as officers see it and as marketers do. Pure.

Exact counts add up: members = released + the sum of withheld. Noised ones (privacy.md, "Counts") have
independent noise each, so they do not add up, and nobody can tell from two that their sets are equal.

A reason for absence is named when it stands for 10 people at least and its noised count is well above that;
all others are one, ``other``, which is always there. So neither that a reason is named, nor that something
is withheld at all, tells of one person.

Whether an audience is big enough is asked of the noised count, with a margin, where that is all that may be
seen: an exact answer, asked about one set after another, would find out each person for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyroaring import BitMap

from cdp.gate.model import Counts, Shown
from cdp.segments import noised

OTHER = "other"
_FEW = 10
MARGIN = 100
"""Above the minimum audience: noise alone reaches it once in 1,500 times; then the exact count decides."""
_NAMED = 50  # below it, noise alone would name a reason of 10 people, and not name one of 9, too often


def exact(members: BitMap, released: BitMap, withheld: Mapping[str, BitMap]) -> Counts:
    """Return the sizes of the sets."""
    return Counts(
        members=len(members),
        released=len(released),
        withheld={reason: len(people) for reason, people in withheld.items() if people},
    )


def is_audience(counts: Counts, minimum: int, noised: Counts | None) -> bool:
    """Return whether as many people remain as a destination asks for at least.

    :param noised: what the requester may see instead of ``counts``; None for whoever may see those.
    """
    seen = noised is None or noised.released >= minimum + MARGIN
    return seen and counts.released >= minimum


def noisy(
    members: BitMap,
    released: BitMap,
    withheld: Mapping[str, BitMap],
    secret: bytes,
    question: str,
    fields: Mapping[str, str] | None = None,
) -> Shown:
    """Return what may be shown to whoever must not single anybody out.

    :param question: what was asked; the same text for the same export asked again.
    :param fields: what the rules could give, whoever the people are.
    """

    def shown(people: BitMap, figure: str) -> int:
        return noised(people, secret, f"{figure} of {question}")

    counted = {reason: shown(people, reason) for reason, people in withheld.items() if len(people) >= _FEW}
    named = {reason: count for reason, count in counted.items() if count >= _NAMED}
    few = BitMap.union(BitMap(), *(people for reason, people in withheld.items() if reason not in named))
    return Shown(
        members=shown(members, "members"),
        released=shown(released, "released"),
        withheld={**dict(sorted(named.items())), OTHER: shown(few, OTHER)},
        fields=dict(fields or {}),
    )
