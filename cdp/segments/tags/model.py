"""A computed tag: what it says of a person, and how that is found."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from cdp.clock import Micros
from cdp.policy import ValueType
from cdp.segments.definition import Event, Node, Ratio

TagKind = Literal["customer", "event", "behaviour", "preference"]
Form = Literal["cases", "amount", "ratio", "score"]


class Case(msgspec.Struct, frozen=True):
    """A value, and for whom it holds unless an earlier case does."""

    value: str
    where: Node


class TagDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A checked definition of a tag.

    :param form: how its value is found: the first of ``cases`` that holds; an ``amount`` of events; a
        ``ratio`` of two; a ``score`` from 1, the class that an amount falls into.
    :param type: of its value.
    :param otherwise: the value of those of whom no case holds; None: they have none.
    :param of: what an amount, a ratio or a score is found from.
    :param into: of a score: how many classes.
    :param thresholds: of a score: the upper bounds of all classes but the last, ascending, included; None:
        quantiles, found when the tag is rebuilt.
    :param lowest_best: of a score: the lowest amounts have the highest score.
    :param source: what was given, as plain data in the shape of the YAML file; stored and shown.
    """

    name: str
    description: str
    kind: TagKind
    form: Form
    type: ValueType
    cases: tuple[Case, ...] = ()
    otherwise: str | None = None
    of: Event | Ratio | None = None
    into: int = 0
    thresholds: tuple[float, ...] | None = None
    lowest_best: bool = False
    source: dict[str, Any]

    @property
    def rebuilt(self) -> bool:
        """True when it has thresholds that are found in what is known of everybody."""
        return self.form == "score" and self.thresholds is None


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """The thresholds of a score, as a rebuild found them.

    :param version: of the tag.
    :param values: as ``TagDefinition.thresholds``.
    :param people: in how many people's amounts they were found.
    :param as_of: the commit that was looked at.
    """

    version: int
    values: tuple[float, ...]
    people: int
    as_of: int
    computed_at: Micros


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a stored tag.

    :param definition: None when it no longer holds; ``problem`` says why.
    :param category: the data category of what it tells, by the policies of now.
    :param thresholds: of a score, those that hold; None while it has none.
    """

    name: str
    version: int
    source: dict[str, Any]
    definition: TagDefinition | None
    problem: str
    category: str
    thresholds: Thresholds | None
    created_at: Micros
    created_by: str


class TagValue(msgspec.Struct, frozen=True):
    """What a tag says of one person.

    :param value: None where it says nothing.
    :param reads: every data category that it is found from, its own included.
    """

    name: str
    version: int
    value: Any
    reads: frozenset[str]

    def __repr__(self) -> str:
        return f"<tag {self.name}>"
