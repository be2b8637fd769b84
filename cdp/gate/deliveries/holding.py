"""Whom a destination holds, of one segment for one purpose: compact, pure.

Invariants:

1. ``anchors`` are the identities that a profile_ref was made from; ``others`` are the further identities of a
   delivered person, each with the anchor it was delivered under. No value, no pseudonym, nothing clear.
2. A million people of two identities are 4 MB: two Roaring bitmaps and one array of 32-bit numbers, aligned
   with the ascending ``others``.
3. An identity may be an anchor and another's other: a merge whose second reference is not recalled yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

Numbers = npt.NDArray[np.uint32]


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """People held.

    :param anchors: a serialised BitMap; ``others`` another.
    :param of: little-endian 32-bit anchors, aligned with ``others``.
    """

    anchors: bytes = BitMap().serialize()
    others: bytes = BitMap().serialize()
    of: bytes = b""

    def people(self) -> BitMap:
        """Return the anchors."""
        return BitMap.deserialize(self.anchors)

    def identities(self) -> BitMap:
        """Return every identity delivered."""
        return self.people() | BitMap.deserialize(self.others)

    def adding(self, delivered: Mapping[int, Sequence[int]]) -> Holding:
        """Return this and people delivered.

        :param delivered: anchor → the identities of the person.
        """
        pairs = [(no, anchor) for anchor, numbers in delivered.items() for no in numbers if no != anchor]
        fresh = np.fromiter(chain.from_iterable(pairs), np.uint32, 2 * len(pairs)).reshape(-1, 2)
        others, of = self._pairs()
        numbers = np.concatenate([fresh[:, 0], others])  # the newer pair of an identity stands first
        anchors = np.concatenate([fresh[:, 1], of])
        kept, first = np.unique(numbers, return_index=True)
        return _holding(self.people() | BitMap(delivered), kept, anchors[first])

    def without(self, anchors: BitMap) -> Holding:
        """Return this without the people of these anchors."""
        others, of = self._pairs()
        stay = ~np.isin(of, _array(anchors))
        return _holding(self.people() - anchors, others[stay], of[stay])

    def forgetting(self, identities: BitMap) -> Holding:
        """Return this without these further identities; whoever is an anchor stays one."""
        others, of = self._pairs()
        stay = ~np.isin(others, _array(identities))
        return _holding(self.people(), others[stay], of[stay])

    def touched(self, identities: BitMap) -> BitMap:
        """Return the anchors of whoever one of these identities was delivered of."""
        others, of = self._pairs()
        return (self.people() & identities) | BitMap(of[np.isin(others, _array(identities))].tolist())

    def others_of(self, anchors: BitMap) -> dict[int, int]:
        """Return further identity → anchor, of these anchors."""
        others, of = self._pairs()
        here = np.isin(of, _array(anchors))
        return dict(zip(others[here].tolist(), of[here].tolist(), strict=True))

    def _pairs(self) -> tuple[Numbers, Numbers]:
        return _array(BitMap.deserialize(self.others)), np.frombuffer(self.of, dtype="<u4").astype(np.uint32)


def _array(numbers: Iterable[int]) -> Numbers:
    return np.array(numbers.to_array() if isinstance(numbers, BitMap) else list(numbers), dtype=np.uint32)


def _holding(anchors: BitMap, others: npt.NDArray[Any], of: npt.NDArray[Any]) -> Holding:
    """Make a holding of pairs that ascend by ``others``."""
    return Holding(
        anchors=anchors.serialize(),
        others=BitMap(others.tolist()).serialize(),
        of=of.astype("<u4").tobytes(),
    )
