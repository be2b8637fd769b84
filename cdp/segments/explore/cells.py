"""cells: the counts of tables, kept as sets until it is known how exactly they may be seen. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from pyroaring import BitMap

from cdp.segments.definition import Node


class Cell(msgspec.Struct, frozen=True):
    """People who are counted.

    :param question: what they answer, as ``noise`` takes it: the same wherever the same is asked.
    :param members: profile numbers; never shown.
    """

    question: str
    members: BitMap

    @classmethod
    def of(cls, where: Node, members: BitMap) -> Cell:
        """Make it of whom a condition finds, with the noise that a preview of it has."""
        return cls(repr(where), members)

    def __repr__(self) -> str:
        return f"<cell of {len(self.members)}>"


Table = Sequence[Cell]
"""Cells of which nobody is in two: together they tell of somebody no more than two counts would."""
Show = Callable[[Sequence[Table]], list[list[int]]]
"""Tables → the numbers in them, as somebody may see them."""


def apart(*cells: Cell) -> list[Table]:
    """Return cells as counts of their own: somebody may be in several."""
    return [[cell] for cell in cells]


def share(part: int, whole: int) -> float | None:
    """Return ``part`` of ``whole``, at most 1 as both may bear noise; None of nobody."""
    return round(min(1.0, part / whole), 4) if whole else None
