"""A segment definition as a tree of immutable records.

Invariants: whoever holds a ``Definition`` holds one that ``parse`` has checked against the field
catalogue: every name is declared and clear, every value has the type of what it is compared with, times
are ``Micros`` or ``Moment`` and numbers are floats. Leaves are hashable, so that equal ones are read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeVar

import msgspec

from cdp.clock import Micros
from cdp.policy import Survivorship, ValueType
from cdp.segments.moments import Moment
from cdp.segments.scheduled import Schedule

Operator = Literal["eq", "ne", "in", "lt", "lte", "gt", "gte", "between", "contains", "starts_with", "exists"]
Function = Literal["count", "sum", "avg", "min", "max", "distinct", "first", "last", "most_frequent"]
COUNTS: frozenset[Function] = frozenset({"count", "distinct"})
"""What is 0 of nothing, so that it is always known."""
OfEvent = Literal["event.time", "event.age", "event.hour", "event.weekday"]
"""What every event has: its instant, its days until now, its hour and ISO weekday on the clocks of a zone."""
AGE: OfEvent = "event.age"
EventType = Literal["track", "page", "screen"]
Scalar = str | float | int | bool
Value = Scalar | tuple[Scalar, ...]


class Condition(msgspec.Struct, frozen=True):
    """``{property, op, value}``: one event's property; false when the event has none.

    :param property: one that is declared, or an ``OfEvent``.
    :param zone: IANA time zone of an hour or weekday; empty for everything else.
    """

    property: str
    op: Operator
    value: Value
    type: ValueType
    zone: str = ""


class Aggregate(msgspec.Struct, frozen=True):
    """``{sum: {property: revenue, gte: 200}}``: what a person's matching events amount to.

    ``count`` and ``distinct`` of nothing are 0; the others of nothing are unknown, so no comparison
    holds. ``sum`` and ``avg`` are compared rounded to 6 decimals, so that cents add up; ``first`` and
    ``last`` take the earliest and latest event that has the property, of equally old ones the smallest
    and the greatest value; ``most_frequent`` the value that most events have, of several that of the latest
    event, then the greatest.

    :param property: as in ``Condition``; empty for ``count``.
    :param type: of what is compared.
    :param zone: as in ``Condition``.
    """

    function: Function
    property: str
    op: Operator
    value: Value
    type: ValueType
    zone: str = ""


class Trait(msgspec.Struct, frozen=True):
    """``{trait, op, value}``: the folded trait of a profile; false when it has none.

    Of a trait with survivorship ``union`` it holds when it does of one of the values.

    :param survivorship: by which rule of ``cdp.profiles.fold`` it is folded.
    :param expires: for how many days an observation counts.
    :param validated_by: the trait that tells what is validated; empty for another rule.
    :param flag_expires: for how many days one of that trait does.
    """

    name: str
    op: Operator
    value: Value
    type: ValueType
    survivorship: Survivorship = "most_recent"
    expires: int | None = None
    validated_by: str = ""
    flag_expires: int | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """``{event, where, within | from, to}`` with one aggregate, or at least once without.

    :param within: microseconds back from now, both ends included.
    :param start: not before.
    :param end: before.
    """

    name: str
    type: EventType = "track"
    where: tuple[Condition, ...] = ()
    aggregate: Aggregate | None = None
    within: Micros | None = None
    start: Micros | Moment | None = None
    end: Micros | Moment | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a sequence: an event that happens, or, ``negated``, one that does not.

    :param within: microseconds after the step that happened before it, the end included; None: at any time
        after it.
    """

    name: str
    type: EventType = "track"
    where: tuple[Condition, ...] = ()
    within: Micros | None = None
    negated: bool = False


class Sequence(msgspec.Struct, frozen=True):
    """``{sequence: [...], within}``: steps in order, of which the first happens.

    *After* is later by at least a microsecond: of two events of one instant neither comes after the other.
    Events later than now do not count. A negated step is about the time from the step that happened before it
    until the next step that happens, or until its own window ends, whichever is first; as the last one it
    has a window, and holds once that has ended.

    :param within: microseconds back from now, both ends included, in which all of it lies.
    """

    steps: tuple[Step, ...]
    within: Micros | None = None


class Ratio(msgspec.Struct, frozen=True):
    """``{ratio: {of, to}}``: what two sets of events amount to, divided, rounded to 6 decimals.

    Of nothing, ``of`` is 0 where it counts or sums; the ratio to nothing, or to 0, is unknown, so no
    comparison holds.

    :param of: its aggregate, like that of ``to``, is a number whose comparison is that it is known.
    """

    of: Event
    to: Event
    op: Operator
    value: Value


class TagOf(msgspec.Struct, frozen=True):
    """``{tag, op, value}``: a computed tag of a profile; false when it has none.

    :param value: as given: what type it must have is for the tag to say.
    """

    name: str
    op: Operator
    value: Value


class SegmentOf(msgspec.Struct, frozen=True):
    """``{segment}``: the members of another segment, evaluated at the same moment."""

    name: str


class ListOf(msgspec.Struct, frozen=True):
    """``{list}``: the profiles of a list's identities."""

    name: str


class Sample(msgspec.Struct, frozen=True):
    """``{sample}``: a stable random share of all profiles.

    :param share: above 0, up to 1.
    :param salt: the same people are drawn under the same salt; the segment's name unless given.
    """

    share: float
    salt: str


class All(msgspec.Struct, frozen=True):
    """Every part holds."""

    parts: tuple[Node, ...]


class Any_(msgspec.Struct, frozen=True):  # noqa: N801  # ``Any`` is typing's
    """At least one part holds."""

    parts: tuple[Node, ...]


class Not(msgspec.Struct, frozen=True):
    """The part does not hold."""

    part: Node


Asked = Trait | Event | Sequence | Ratio | Sample
"""Leaves that the warehouse answers."""
Used = SegmentOf | TagOf
"""Leaves that stand for a definition of their own."""
Leaf = Asked | Used | ListOf
Node = All | Any_ | Not | Leaf


class Definition(msgspec.Struct, frozen=True):
    """A named definition.

    :param source: what was given, as plain data in the shape of the YAML file; stored and shown.
    :param schedule: when its members are found anew; None: they follow what happens.
    """

    name: str
    description: str
    where: Node
    source: dict[str, Any]
    schedule: Schedule | None = None


def leaves(node: Node) -> Iterator[Leaf]:
    """Yield every leaf below ``node``, negated ones included."""
    if isinstance(node, All | Any_):
        for part in node.parts:
            yield from leaves(part)
    elif isinstance(node, Not):
        yield from leaves(node.part)
    else:
        yield node


def bounds(leaf: Event, now: Micros) -> tuple[Micros | None, Micros | None]:
    """Return the start and end of a leaf as the instants that they are at ``now``."""
    start, end = (bound.at(now) if isinstance(bound, Moment) else bound for bound in (leaf.start, leaf.end))
    return start, end


_A = TypeVar("_A", bound=Asked)


def settled(leaf: _A, now: Micros) -> _A:
    """Return a leaf with points of the calendar as the instants that they are at ``now``."""
    if isinstance(leaf, Ratio):
        return msgspec.structs.replace(leaf, of=settled(leaf.of, now), to=settled(leaf.to, now))
    if not isinstance(leaf, Event) or not (isinstance(leaf.start, Moment) or isinstance(leaf.end, Moment)):
        return leaf
    start, end = bounds(leaf, now)
    return msgspec.structs.replace(leaf, start=start, end=end)
