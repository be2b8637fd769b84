"""funnel: how many people get how far in a sequence.

A step that happens counts whom the sequence up to it finds, so the table says what segments would. A step
that does not happen has no count: whom it stops is missing at the next one, or, of one at the end, from
``completed``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cdp.policy import FieldCatalogue
from cdp.segments.definition import All, Definition, Node, SegmentOf, Sequence
from cdp.segments.evaluate import Result
from cdp.segments.explore.body import Body
from cdp.segments.explore.cells import Cell, Show, apart, share


class FunnelQuestion(msgspec.Struct, frozen=True):
    """A funnel that is asked for.

    :param steps: as given.
    :param sequence: all of it; ``among`` the segment whose members are looked at, empty for everybody.
    """

    steps: tuple[dict[str, Any], ...]
    sequence: Sequence
    among: str

    @property
    def parts(self) -> tuple[Definition, ...]:
        """The sequence up to each step that happens, and all of it."""
        happen = [place for place, step in enumerate(self.sequence.steps) if not step.negated]
        ends = [*(place + 1 for place in happen), len(self.sequence.steps)]
        return tuple(self._within(Sequence(self.sequence.steps[:end], self.sequence.within)) for end in ends)

    @property
    def whole(self) -> Definition:
        """All of it: what it reads is all that is read."""
        return self.parts[-1]

    def _within(self, sequence: Sequence) -> Definition:
        where: Node = All((SegmentOf(self.among), sequence)) if self.among else sequence
        return Definition("", "", where, {})


class Funnel(msgspec.Struct, frozen=True):
    """What was found.

    :param reached: whom each step that happens found; the last cell is of all of the sequence.
    """

    as_of: int
    question: FunnelQuestion
    reached: tuple[Cell, ...]

    def shown(self, show: Show) -> dict[str, Any]:
        """Return it as somebody may see it."""
        numbers = [number for (number,) in show(apart(*self.reached))]
        *reached, completed = numbers
        counts = iter(reached)
        steps: list[dict[str, Any]] = []
        before: int | None = None
        for given, step in zip(self.question.steps, self.question.sequence.steps, strict=True):
            if step.negated:
                steps.append({"step": given, "count": None, "share": None, "of_previous": None})
                continue
            count = next(counts)
            of_previous = None if before is None else share(count, before)
            steps.append(
                {"step": given, "count": count, "share": share(count, reached[0]), "of_previous": of_previous}
            )
            before = count
        return {
            "as_of": self.as_of,
            "steps": steps,
            "completed": {"count": completed, "share": share(completed, reached[0])},
        }


def read_funnel(data: Mapping[str, Any], fields: FieldCatalogue) -> FunnelQuestion:
    """Read ``{sequence, within, timezone, among}``.

    :raises DefinitionError: it cannot be understood, or asks for what may not be read.
    """
    body = Body(data, fields, "a funnel", {"sequence", "within", "among"})
    given = {key: body.data[key] for key in ("sequence", "within") if key in body.data}
    sequence = body.node("", {"sequence": [], **given})
    assert isinstance(sequence, Sequence)  # noqa: S101  # what has the key sequence is one
    among = body.reference("among") if "among" in body.data else ""
    return FunnelQuestion(tuple(body.data["sequence"]), sequence, among)


def funnel(question: FunnelQuestion, results: tuple[Result, ...]) -> Funnel:
    """Return the funnel, given what an evaluation of its parts found."""
    cells = (Cell.of(result.question.definition.where, result.bitmap) for result in results)
    return Funnel(results[0].as_of, question, tuple(cells))
