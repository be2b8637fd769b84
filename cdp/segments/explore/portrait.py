"""portrait: what the people of a segment are like, against everyone.

An *attribute* is a name with values, and a value is a condition: so a cell counts whom a segment with that
condition finds. Whoever has the attribute with none of the values shown is ``other``, whoever has none at all
``none``.

Invariants:

1. No attribute names a person, or is of a category that the policies keep from segments.
2. An officer sees every value that is looked at, exactly. For all others the *values* are chosen by what is
   shown of everyone, with its noise: one that fewer than ``SHOWN_FROM`` people seem to have, or fewer than
   ``LEAST`` have, is in ``other``. A threshold on exact numbers alone would tell of one person: an attacker
   who knows nine who have the value would see whether she is the tenth.
3. ``other`` is counted as a set of its own with noise of its own; nothing is reckoned from other cells.
"""

from __future__ import annotations

from typing import Any

import msgspec
from pyroaring import BitMap

from cdp.segments.definition import All, Any_, Node, Not, SegmentOf
from cdp.segments.explore.cells import Cell, Show, Table, apart, share

MOST_VALUES = 10
SHOWN_FROM = 100
LEAST = 10


class Choice(msgspec.Struct, frozen=True):
    """One value of an attribute.

    :param shown: how an answer names it: ``{"value": "DE"}``, ``{"from": 20.0, "to": 30.0}``,
        ``{"year": 2024}``.
    """

    shown: dict[str, Any]
    where: Node


class Attribute(msgspec.Struct, frozen=True):
    """What people are told apart by.

    :param known: holds of whoever has it at all.
    :param several: somebody may have several of its values.
    :param choices: values that may be shown; where they are ``ranked`` the ``MOST_VALUES`` most common, else
        all in their order.
    """

    kind: str
    name: str
    known: Node
    choices: tuple[Choice, ...]
    ranked: bool = True
    several: bool = False

    @property
    def wheres(self) -> tuple[Node, ...]:
        """Every condition that it takes."""
        return (self.known, *(choice.where for choice in self.choices))


class Pictured(msgspec.Struct, frozen=True):
    """An attribute, and who of everyone has it, and each of its values."""

    attribute: Attribute
    known: BitMap
    having: tuple[BitMap, ...]


class Portrait(msgspec.Struct, frozen=True):
    """What was found at one moment.

    :param where: of the segment, whose members are ``group``.
    :param left_out: traits of which the policies let no segment know.
    """

    as_of: int
    segment: str
    version: int
    where: Node
    group: BitMap
    everyone: BitMap
    pictured: tuple[Pictured, ...]
    left_out: tuple[str, ...]

    def shown(self, show: Show, *, exact: bool) -> dict[str, Any]:
        """Return it as somebody may see it.

        :param exact: ``show`` gives exact numbers, and every value may be seen.
        """
        (size,), (all_,) = show(apart(Cell.of(self.where, self.group), Cell("everyone", self.everyone)))
        return {
            "segment": self.segment,
            "version": self.version,
            "as_of": self.as_of,
            "count": size,
            "everyone": all_,
            "attributes": [self._attribute(one, show, (size, all_), exact=exact) for one in self.pictured],
            "left_out": list(self.left_out),
        }

    def _attribute(self, one: Pictured, show: Show, sizes: tuple[int, int], *, exact: bool) -> dict[str, Any]:
        """Return one attribute: (1) everyone's numbers, (2) the values that may be seen, (3) the rest."""
        attribute, choices = one.attribute, one.attribute.choices
        none, absent = Not(attribute.known), self.everyone - one.known
        wheres = [*(choice.where for choice in choices), none]
        cells = [Cell.of(*pair) for pair in zip(wheres, [*one.having, absent], strict=True)]
        *numbers, without = _flat(show(self._tables(attribute, cells)))  # 1
        least = 1 if exact else SHOWN_FROM
        places = [
            place
            for place, number in enumerate(numbers)
            if number >= least and (exact or len(one.having[place]) >= LEAST)
        ]  # 2
        if attribute.ranked:
            places = sorted(places, key=lambda place: -numbers[place])[:MOST_VALUES]
        shown = [choices[place].where for place in places]
        other = All((attribute.known, Not(Any_(tuple(shown))))) if shown else attribute.known
        rest = one.known - BitMap.union(BitMap(), *(one.having[place] for place in places))
        ((others,),) = show(apart(Cell.of(other, rest)))  # 3
        group = [
            Cell.of(All((SegmentOf(self.segment), where)), having & self.group)
            for where, having in [
                *((choices[place].where, one.having[place]) for place in places),
                (other, rest),
                (none, absent),
            ]
        ]
        here = _flat(show(self._tables(attribute, group)))
        there = [*(numbers[place] for place in places), others, without]
        *rows, of_other, of_none = (_row(*pair, sizes) for pair in zip(here, there, strict=True))
        return {
            "kind": attribute.kind,
            "name": attribute.name,
            "values": [{**choices[place].shown, **row} for place, row in zip(places, rows, strict=True)],
            "other": of_other,
            "none": of_none,
        }

    @staticmethod
    def _tables(attribute: Attribute, cells: list[Cell]) -> list[Table]:
        return apart(*cells) if attribute.several else [cells]


def _flat(numbers: list[list[int]]) -> list[int]:
    return [number for table in numbers for number in table]


def _row(count: int, everyone: int, sizes: tuple[int, int]) -> dict[str, Any]:
    here, there = share(count, sizes[0]), share(everyone, sizes[1])
    index = round(here / there, 2) if here is not None and there else None
    return {
        "count": count,
        "everyone": everyone,
        "share": here,
        "share_of_everyone": there,
        "index": index,
    }
