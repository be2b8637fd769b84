"""Columns of numbers as sets.

Numbers are put in order first: a set takes what is in order ten times as fast. Where they lie close together,
marking each in an array is how they are ordered; otherwise they are sorted.
"""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from pyroaring import BitMap

_SPARSE = 100  # to so many numbers that could be one that is: sorting is cheaper than marking


def bitmap(numbers: Any) -> BitMap:
    """Return the numbers of a numpy column, each from 0 and below 2³², as a set."""
    values = np.asarray(numbers)
    if not _is_dense(values):
        return _ordered(np.sort(values))
    there = np.zeros(int(values.max()) + 1, dtype=np.bool_)
    there[values] = True
    return _ordered(np.flatnonzero(there))


def flagged(numbers: Any, flags: Any, bits: int) -> list[BitMap]:
    """Return for each of some bits the numbers whose flags have it.

    :param numbers: as of ``bitmap``; none of them twice.
    :param flags: of each number.
    """
    values, held = np.asarray(numbers), np.asarray(flags)
    if _is_dense(values):
        told = np.zeros(int(values.max()) + 1, dtype=np.min_scalar_type((1 << bits) - 1))
        told[values] = held
        return [_ordered(np.flatnonzero((told & (1 << bit)) != 0)) for bit in range(bits)]
    order = np.argsort(values)
    values, held = values[order], held[order]
    return [_ordered(values[(held & (1 << bit)) != 0]) for bit in range(bits)]


def _is_dense(values: Any) -> bool:
    return bool(values.size) and values.max() < _SPARSE * values.size


def _ordered(values: Any) -> BitMap:
    numbers = array("I")
    numbers.frombytes(values.astype(np.uint32).tobytes())
    return BitMap(numbers)
