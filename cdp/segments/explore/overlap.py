"""overlap: how many people two segments share, for each two of several."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import msgspec

from cdp.segments.definition import All, SegmentOf
from cdp.segments.evaluate import Result
from cdp.segments.explore.cells import Cell, Show, apart, share

MOST = 20


class Overlap(msgspec.Struct, frozen=True):
    """What was found at one moment.

    :param segments: each segment's name, version and members.
    :param pairs: each two of them and whom they share, as a preview of ``all`` of both would find them, the
        two in the order of their names.
    """

    as_of: int
    segments: tuple[tuple[str, int, Cell], ...]
    pairs: tuple[tuple[str, str, Cell], ...]

    def shown(self, show: Show) -> dict[str, Any]:
        """Return it as somebody may see it."""
        cells = [cell for *_, cell in (*self.segments, *self.pairs)]
        numbers = [number for (number,) in show(apart(*cells))]
        size = {name: number for (name, *_), number in zip(self.segments, numbers, strict=False)}
        return {
            "as_of": self.as_of,
            "segments": [
                {"name": name, "version": version, "count": size[name]} for name, version, _ in self.segments
            ],
            "pairs": [
                {
                    "segments": [one, other],
                    "count": number,
                    "shares": [share(number, size[one]), share(number, size[other])],
                }
                for (one, other, _), number in zip(self.pairs, numbers[len(self.segments) :], strict=True)
            ],
        }


def overlap(versions: dict[str, int], results: tuple[Result, ...]) -> Overlap:
    """Return the overlap of segments, given what an evaluation of each found.

    :param versions: name → version, in the order of the results.
    """
    members = {name: result.bitmap for name, result in zip(versions, results, strict=True)}
    return Overlap(
        results[0].as_of,
        tuple(
            (name, versions[name], Cell.of(result.question.definition.where, result.bitmap))
            for name, result in zip(versions, results, strict=True)
        ),
        tuple(
            (
                one,
                other,
                Cell.of(All((SegmentOf(one), SegmentOf(other))), members[one] & members[other]),
            )
            for one, other in combinations(sorted(versions), 2)
        ),
    )
