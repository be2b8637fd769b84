"""walk: from identities that somebody proved, along links that may be trusted, to all that is theirs. Pure.

A profile is the best guess of who is one person; to show somebody data on a guess is to show it to whoever
made the guess come true. So, narrower than a profile:

1. A link counts that stands *and* that a server, an import or a steward told. What only a browser said, whose
   key is public, or what matching found alike, leads nowhere.
2. A device leads to no person: several use it, and whoever holds it is none of them for that. So somebody
   who proved a device sees devices only, and two who share one never see each other's.
   A steward joins profiles, though, not devices: where the pair of a merge names a device, it stands for the
   one person who was ever seen on it, and for nobody where they are several.
3. A device that anybody else was ever seen on, on whatever word, is not shown to either: what was done there
   before anybody signed in may be the other's (GDPR Art. 15(4)). The identifiers that were proved themselves
   are always shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

Pair = tuple[int, int]


class Reach(NamedTuple):
    """What somebody may see.

    :param numbers: the identities, ascending; those that were proved among them.
    :param whole: nothing ever told of a connection of these with anybody else, so that a conclusion about
        their profile is drawn from these alone. Depends on no fact about the others.
    """

    numbers: tuple[int, ...]
    whole: bool


def walk(
    proved: Iterable[int],
    trusted: Collection[Pair],
    told: Collection[Pair],
    is_device: Callable[[int], bool],
    joined: Collection[Pair] = (),
) -> Reach:
    """Return what somebody may see who proved some identities.

    :param trusted: pairs of which the link stands and a trusted word told it.
    :param told: every pair that anything ever told, whatever was decided about it.
    :param is_device: of an identity; one that is gone counts as a person.
    :param joined: those of the trusted ones that a steward told.
    """
    start = set(proved)
    linked, seen = _neighbours(trusted), _neighbours(told)
    for low, high in _between_people(joined, linked, _neighbours(set(told) - set(joined)), is_device):
        linked[low].add(high)
        linked[high].add(low)
    people = _closure({one for one in start if not is_device(one)}, linked, lambda one: not is_device(one))

    def unshared(one: int) -> bool:
        others = {other for other in seen[one] if not is_device(other)}
        return is_device(one) and others <= people

    found = people | _closure(people | start, linked, unshared)
    return Reach(
        numbers=tuple(sorted(found)),
        whole=all(low in found and high in found for low, high in told if low in found or high in found),
    )


def _between_people(
    joined: Iterable[Pair],
    linked: dict[int, set[int]],
    seen: dict[int, set[int]],
    is_device: Callable[[int], bool],
) -> list[Pair]:
    """Return a steward's pairs, with a person in place of each device; without those that name nobody."""

    def person(one: int) -> int | None:
        if not is_device(one):
            return one
        there = {other for other in seen[one] if not is_device(other)}
        known = _closure({min(there)}, linked, lambda other: not is_device(other)) if there else set()
        return min(there) if there and there <= known else None

    pairs = [(person(low), person(high)) for low, high in joined]
    return [(low, high) for low, high in pairs if low is not None and high is not None]


def _closure(start: set[int], linked: dict[int, set[int]], may: Callable[[int], bool]) -> set[int]:
    found, waiting = set(start), list(start)
    while waiting:
        fresh = {other for other in linked[waiting.pop()] - found if may(other)}
        found |= fresh
        waiting += fresh
    return found


def _neighbours(pairs: Iterable[Pair]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = defaultdict(set)
    for low, high in pairs:
        found[low].add(high)
        found[high].add(low)
    return found
