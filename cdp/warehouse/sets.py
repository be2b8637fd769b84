"""Columns of numbers as sets."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from pyroaring import BitMap

_SPARSE = 100  # to so many numbers that could be one that is: sorting is cheaper than marking


def bitmap(numbers: Any) -> BitMap:
    """Return the numbers of a numpy column, each from 0 and below 2³², as a set.

    They are put in order first: a set takes what is in order ten times as fast.
    """
    values = np.asarray(numbers)
    if values.size and values.max() < _SPARSE * values.size:
        there = np.zeros(int(values.max()) + 1, dtype=np.bool_)
        there[values] = True
        values = np.flatnonzero(there)
    else:
        values = np.sort(values)
    ordered = array("I")
    ordered.frombytes(values.astype(np.uint32).tobytes())
    return BitMap(ordered)
