"""How links are told to the journal: as groups of identities, every pair across of which is meant.

To carve 250 identities out of 500 revokes 62,500 pairs. That is one line with 500 tags.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from cdp.journal.model import Apart, Fact


def kept_apart(pairs: Iterable[tuple[int, int]], *, on: bool = True, guess: bool = False) -> list[Fact]:
    """Return the facts that links between identities were revoked, or admitted again.

    :param guess: they were rejected in the review queue, so that only what matching guesses is meant.
    """
    return [Fact(line=Apart(on=on, guess=guess), between=two) for two in _groups(pairs)]


def _groups(pairs: Iterable[tuple[int, int]]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield two groups at a time, the pairs across of which are the given ones, each once."""
    facing: dict[int, set[int]] = defaultdict(set)
    for low, high in pairs:
        facing[low].add(high)
        facing[high].add(low)
    while facing:
        others = facing[min(facing)]
        some = {number for number, faced in facing.items() if faced == others}
        yield tuple(sorted(some)), tuple(sorted(others))
        for number in some:
            del facing[number]
        for number in others:
            facing[number] -= some
            if not facing[number]:
                del facing[number]
