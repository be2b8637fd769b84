"""Columns of numbers as sets."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from pyroaring import BitMap


def bitmap(numbers: Any) -> BitMap:
    """Return the numbers of a numpy column, each below 2³², as a set."""
    values = array("I")
    values.frombytes(np.ascontiguousarray(numbers, dtype=np.uint32).tobytes())
    return BitMap(values)
