"""sequences: steps in order, found in one pass over the events that any of them is about.

For each person and instant it is known which steps an event of that instant fits. From the first step on, an
instant is *reached* at step k when it fits the step and lies in the reach of one that was reached at the step
before. How far an instant reaches is the nearest of: its time plus the step's ``within``; the first event
that a negated step between the two forbids, where that falls into the negated step's own window. So the
farthest reach of all earlier instants decides, and a running maximum finds it, whatever the windows are.
Beginnings of one sequence (a funnel) are found in the pass that finds the whole.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from functools import reduce
from itertools import pairwise
from operator import and_, or_
from typing import Any

import ibis  # type: ignore[import-untyped]  # publishes no types

from cdp.segments.compile.common import Found, happening, mapped
from cdp.segments.definition import Sequence, Step
from cdp.warehouse import Tables, evaluated_at

_EVER = (1 << 62) - 1  # an instant that never comes
_Between = tuple[tuple[int, Step], ...]  # the negated steps between two that happen, with their places


def sequence_pass(leaves: SequenceOf[Sequence], tables: Tables) -> Found:
    """Return the query of sequences of which each is the beginning of the longest."""
    longest, shortest = (extreme(leaves, key=lambda leaf: len(leaf.steps)) for extreme in (max, min))
    instants = _reached(longest, _hopeful(shortest, _marks(longest, tables)))
    ends = {f"done_{place}": _ends(instants, leaf) for place, leaf in enumerate(leaves)}
    instants = instants.mutate(**ends)
    done = instants.group_by("profile_no").aggregate(**{name: instants[name].any() for name in ends})
    return Found.of(done, [done[name] for name in ends])


def begins(leaf: Sequence, other: Sequence) -> bool:
    """Return whether ``leaf`` is the beginning of ``other``, or all of it, and best found in a pass with it.

    One step alone is not: those who may have done two are few beside it (``_hopeful``).
    """
    beginning = leaf.within == other.within and leaf.steps == other.steps[: len(leaf.steps)]
    return beginning and (len(_happening(leaf)) > 1) == (len(_happening(other)) > 1)


def reached_steps(leaf: Sequence, tables: Tables) -> Any:
    """Return one row: of everybody together, whether each step that happens was reached."""
    instants = _reached(leaf, _marks(leaf, tables))
    steps = [f"reached_{number}" for number in range(len(_happening(leaf)))]
    return instants.aggregate(**{name: instants[name].any().fill_null(False) for name in steps})


def _happening(leaf: Sequence) -> list[int]:
    """Return the places of the steps that happen."""
    return [place for place, step in enumerate(leaf.steps) if not step.negated]


def _reached(leaf: Sequence, marks: Any) -> Any:
    """Return the instants; ``reached_i`` says whether one reached step ``i`` of those that happen."""
    fits = {f"fits_{place}": marks[f"fits_{place}"].any() for place in range(len(leaf.steps))}
    rows = marks.group_by("profile_no", "occurred_at").aggregate(**fits)
    happen = _happening(leaf)
    order = {"group_by": "profile_no", "order_by": "occurred_at"}
    earlier = ibis.window(**order, preceding=(None, 1))
    later = ibis.window(**order, following=(1, None))
    forbidden = {
        f"next_{place}": ibis.ifelse(rows[f"fits_{place}"], rows.occurred_at, ibis.null()).min().over(later)
        for place, step in enumerate(leaf.steps)
        if step.negated
    }
    if forbidden:
        rows = rows.mutate(**forbidden)
    rows = rows.mutate(reached_0=rows[f"fits_{happen[0]}"])
    for number, (before, place) in enumerate(pairwise(happen), 1):
        between = tuple((middle, leaf.steps[middle]) for middle in range(before + 1, place))
        reach = ibis.ifelse(
            rows[f"reached_{number - 1}"], _reach(rows, leaf.steps[place], between), ibis.null()
        )
        rows = rows.mutate(reach=reach)
        farthest = rows.reach.max().over(earlier)
        rows = rows.mutate(
            **{f"reached_{number}": rows[f"fits_{place}"] & (farthest >= rows.occurred_at).fill_null(False)}
        )
    return rows


def _ends(rows: Any, leaf: Sequence) -> Any:
    """Return whether an instant ends a sequence: its last step that happens, and no forbidden one after."""
    happen = _happening(leaf)
    ends = [rows[f"reached_{len(happen) - 1}"]]
    for place in range(happen[-1] + 1, len(leaf.steps)):
        until = rows.occurred_at + leaf.steps[place].within
        following = rows[f"next_{place}"]
        ends += [until < evaluated_at(), (following > until).fill_null(True)]
    return reduce(and_, ends)


def _hopeful(leaf: Sequence, marks: Any) -> Any:
    """Leave out the events of whoever cannot have done the steps in order, who are most people.

    Whoever did has for each two steps that follow each other an event that fits the first before one that
    fits the second.
    """
    at, happen = marks.occurred_at, _happening(leaf)
    if len(happen) == 1:
        return marks
    spans = {f"first_{place}": at.min(where=marks[f"fits_{place}"]) for place in happen[:-1]}
    spans |= {f"last_{place}": at.max(where=marks[f"fits_{place}"]) for place in happen[1:]}
    people = marks.group_by("profile_no").aggregate(**spans)
    ordered = [people[f"first_{before}"] < people[f"last_{after}"] for before, after in pairwise(happen)]
    return marks.semi_join(people.filter(*ordered), "profile_no")


def _marks(leaf: Sequence, tables: Tables) -> Any:
    """Return the events that the steps are about, and which steps each fits."""
    events = tables.events
    fits = {f"fits_{place}": step_fits(step, tables) for place, step in enumerate(leaf.steps)}
    about = {(step.type, step.name) for step in leaf.steps}
    names = sorted({name for _, name in about})
    narrow = [
        events.name.isin(names)
        if len(names) > 1
        else events.name == names[0],  # other row groups stay closed
        reduce(or_, ((events.type == kind) & (events.name == name) for kind, name in sorted(about))),
        events.occurred_at <= evaluated_at(),
    ]
    if leaf.within is not None:
        narrow.append(events.occurred_at >= evaluated_at() - leaf.within)
    source = events.filter(*narrow)
    marks = mapped(source.select("identity_no", "occurred_at", **fits), tables)
    return marks.filter(reduce(or_, (marks[name] for name in fits)))


def step_fits(step: Step, tables: Tables) -> Any:
    """Return whether an event fits a step."""
    events = tables.events
    parts = [events.name == step.name, events.type == step.type, *happening(step.where, tables)]
    return reduce(and_, parts).fill_null(False)


def _reach(rows: Any, following: Step, between: _Between) -> Any:
    """Return until when the following step may happen after an instant."""
    at = rows.occurred_at
    bounds = [ibis.literal(_EVER, "int64") if following.within is None else at + following.within]
    for place, step in between:
        forbidden = rows[f"next_{place}"]
        if step.within is not None:
            forbidden = ibis.ifelse(forbidden <= at + step.within, forbidden, ibis.null())
        bounds.append(forbidden.fill_null(_EVER))
    return bounds[0] if len(bounds) == 1 else ibis.least(*bounds)
