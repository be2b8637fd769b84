"""people: the identity→profile map as it moves on from a snapshot of the warehouse, held in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pyroaring import BitMap

from cdp.warehouse import Snapshot, bitmap


class People:
    """Who is who, as of a commit.

    :param base: the snapshot that it began with.
    """

    def __init__(self, base: Snapshot) -> None:
        self._base = base
        self._moved: dict[int, int] = {}
        self.everyone = base.everyone

    def profiles_of(self, identities: BitMap) -> Any:
        """Return the profile of each of some identities, in their order."""
        found = self._base.profiles_of(identities).copy()
        for place, number in enumerate(identities) if self._moved else ():
            profile_no = self._moved.get(number)
            if profile_no is not None:
                found[place] = profile_no
        return found

    def mapped(self, identities: BitMap) -> BitMap:
        """Return the profiles of some identities."""
        return bitmap(self.profiles_of(identities))

    def move(self, moved: Mapping[int, int]) -> None:
        """Go on to a later commit, by which these identities were written to these profiles."""
        self._moved.update(moved)


class Moves:
    """What became of the numbers of some people between two commits.

    :param then: the profile of each of their identities before; ``here`` that after.
    """

    def __init__(self, then: Any, here: Any) -> None:
        self.then = then
        self.here = here

    def through(self, profiles: BitMap) -> BitMap:
        """Return profiles of before under the numbers of after; of who came apart, every part."""
        before = bitmap(self.then)
        stood = np.isin(self.then, np.frombuffer((profiles & before).to_array(), dtype=np.uint32))
        return (profiles - before) | bitmap(self.here[stood])
