"""Which pairs are joined: clusters grow by their strongest pairs, and only while all their records agree.

Connected components of the accepted pairs would chain: A is like B, B like C, C like D, and A is not D. So:

1. Records that are known to be one (deterministic profiles) start as one cluster, each other as its own.
2. Pairs at or above the accept weight, without a conflict, are taken from the strongest down (ties by record
   number). The two clusters of a pair become one when the average weight of all pairs between them, each
   held within ``±_BOUND`` so that no single field outvotes the rest, is at least ``linkage``. A conflict
   counts as ``-_BOUND``; a pair that shares no blocking key, and was not compared, as ``_APART``.
3. A pair that is refused now may be allowed when its clusters have grown: steps 2 and 3 repeat until nothing
   is joined any more.

The pairs that joined two clusters form a forest: taking one back takes apart exactly what it joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_BOUND = 10.0
_APART = -5.0


class Edges(NamedTuple):
    """Scored pairs as columns; ``low`` and ``high`` are rows."""

    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    conflict: npt.NDArray[np.bool_]


class Clusters:
    """Disjoint sets of rows that know the sum and number of the scored pairs between them."""

    def __init__(self, start: Sequence[int]) -> None:
        self._parent = list(start)
        self._size: list[int] = np.bincount(np.array(start, dtype=np.int64), minlength=len(start)).tolist()
        self._between: dict[int, dict[int, tuple[float, int]]] = {}

    def of(self, row: int) -> int:
        """Return the cluster of a row."""
        while self._parent[row] != row:
            self._parent[row] = self._parent[self._parent[row]]
            row = self._parent[row]
        return row

    def note(self, low: int, high: int, weight: float) -> None:
        """Say what two rows weigh."""
        one, other = self.of(low), self.of(high)
        if one != other:
            self._add(one, other, weight, 1)
            self._add(other, one, weight, 1)

    def average(self, one: int, other: int) -> float:
        """Return the average weight between two clusters."""
        total, number = self._between.get(one, {}).get(other, (0.0, 0))
        pairs = self._size[one] * self._size[other]
        return (total + (pairs - number) * _APART) / pairs

    def join(self, one: int, other: int) -> None:
        """Make two clusters one: what the smaller one knows goes to the other."""
        known, others = self._between.get(one, {}), self._between.get(other, {})
        if len(known) < len(others):
            one, other = other, one
        moved = self._between.pop(other, {})
        self._parent[other] = one
        self._size[one] += self._size[other]
        for third, (weight, number) in moved.items():
            del self._between[third][other]
            if third != one:
                self._add(one, third, weight, number)
                self._add(third, one, weight, number)

    def _add(self, one: int, other: int, weight: float, number: int) -> None:
        row = self._between.setdefault(one, {})
        total, count = row.get(other, (0.0, 0))
        row[other] = (total + weight, count + number)


def components(rows: int, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the smallest row of the connected component of each row."""
    label = np.arange(rows, dtype=np.int64)
    while True:
        least = np.minimum(label[low], label[high])
        before = label.copy()
        np.minimum.at(label, low, least)
        np.minimum.at(label, high, least)
        np.minimum.at(label, before[low], least)
        np.minimum.at(label, before[high], least)
        label = label[label]
        if np.array_equal(before, label):
            return label


def cluster(
    start: Sequence[int], edges: Edges, *, accept: float, linkage: float
) -> tuple[list[int], Clusters]:
    """Return the places in ``edges`` of the pairs that joined two clusters, in that order, and the clusters.

    ``start`` gives each row the smallest row that it is known to be one with. Weights are log2 of the odds.
    """
    clusters = Clusters(start)
    held = np.where(edges.conflict, -_BOUND, np.clip(edges.weight, -_BOUND, _BOUND))
    rows = zip(edges.low.tolist(), edges.high.tolist(), held.tolist(), strict=True)
    for low, high, weight in rows:
        clusters.note(low, high, weight)
    strong = np.flatnonzero((edges.weight >= accept) & ~edges.conflict)
    order = strong[np.lexsort((edges.high[strong], edges.low[strong], -edges.weight[strong]))].tolist()
    joined: list[int] = []
    grown = True
    while grown:
        grown, refused = False, []
        for place in order:
            one, other = clusters.of(int(edges.low[place])), clusters.of(int(edges.high[place]))
            if one == other:
                continue
            if clusters.average(one, other) >= linkage:
                clusters.join(one, other)
                joined.append(place)
                grown = True
            else:
                refused.append(place)
        order = refused
    return joined, clusters
