"""Since when identities are linked by chains of links: pure.

Links are walked in the order of their times. When one unites two groups, every pair across them is linked
from then on, and the top of the smaller group is put below that of the larger one. So nobody is more than
log2(n) steps below the top of its ``n``, and the last step of the way between two tells since when they are
linked: one entry for each identity says what one for each pair would, which is the square of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

from cdp.clock import Micros
from cdp.identity.model import Pair


class Chains:
    """The groups that links make of identities.

    :param numbers: the identities.
    :param links: pair of them → since when it is linked.
    """

    def __init__(self, numbers: Iterable[int], links: Mapping[Pair, Micros]) -> None:
        self._group = {number: [number] for number in numbers}  # its top comes first
        self._above: dict[int, tuple[int, Micros, int]] = {}
        self._top = (len(links), 0, 0)
        for turn, ((low, high), at) in enumerate(sorted(links.items(), key=lambda link: link[1])):
            small, large = sorted((self._group[low], self._group[high]), key=len)
            if small is not large:
                self._above[small[0]] = turn, at, large[0]
                large += small
                for number in small:
                    self._group[number] = large

    def group(self, number: int) -> list[int]:
        """Return an identity and all others that it is linked to."""
        return self._group[number]

    def since(self, one: int, other: int) -> Micros:
        """Return since when one identity is linked to another.

        :raises KeyError: it is not, or they are the same.
        """
        if one == other or self._group[one] is not self._group.get(other):
            raise KeyError(other)
        at = 0
        while one != other:  # the turns grow on the way up, so the last is the one that united them
            left, right = self._above.get(one, self._top), self._above.get(other, self._top)
            if left < right:
                _, at, one = left
            else:
                _, at, other = right
        return at


class Linked(Mapping[int, Micros]):
    """Every other that one identity is linked to → since when."""

    def __init__(self, chains: Chains, number: int) -> None:
        self._chains = chains
        self._number = number

    def __getitem__(self, other: int) -> Micros:
        """Return since when it is linked to ``other``."""
        return self._chains.since(self._number, other)

    def __iter__(self) -> Iterator[int]:
        """Yield the others."""
        return (other for other in self._chains.group(self._number) if other != self._number)

    def __len__(self) -> int:
        """Return how many they are."""
        return len(self._chains.group(self._number)) - 1


class Later(Mapping[int, Micros]):
    """A mapping that is made when it is first asked: few members of a profile ever say anything.

    :param make: makes it.
    """

    def __init__(self, make: Callable[[], Mapping[int, Micros]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> Mapping[int, Micros]:
        return self._make()

    def __getitem__(self, other: int) -> Micros:
        """Return what it holds of ``other``."""
        return self._made[other]

    def __iter__(self) -> Iterator[int]:
        """Yield what it holds."""
        return iter(self._made)

    def __len__(self) -> int:
        """Return how much it holds."""
        return len(self._made)
