"""retention: who came back in which period after the one in which they began.

The cohort of a person is the period of the calendar (of a time zone) of the *first* event, ever, that fits
``start``. They came back in period ``k`` when an event that fits ``return`` happened later than that one, in
the ``k``-th period after the cohort's; 0 is the cohort's own. Events later than now do not count; the period
of now counts as far as it has come, later ones are unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from pyroaring import BitMap

from cdp.clock import Micros, rfc3339
from cdp.errors import DefinitionError
from cdp.policy import FieldCatalogue
from cdp.segments.definition import All, Definition, Event
from cdp.segments.explore.body import Body
from cdp.segments.explore.cells import Cell, Show, Table, share
from cdp.segments.moments import Anchor, Moment, Unit, periods
from cdp.warehouse import bitmap

Every = Literal["day", "week", "month"]
MOST_PERIODS = 52
MOST_COHORTS = 366
_CALENDAR: dict[Every, tuple[Anchor, Unit]] = {
    "day": ("today", "d"),
    "week": ("this_week", "w"),
    "month": ("this_month", "mo"),
}


class RetentionQuestion(msgspec.Struct, frozen=True):
    """A retention table that is asked for.

    :param periods: how many periods after the cohort's own are looked at.
    :param since: the first cohort is that of the period which holds it.
    """

    start: Event
    back: Event
    every: Every
    periods: int
    since: Micros | Moment
    zone: str

    @property
    def whole(self) -> Definition:
        """A definition that reads what this reads."""
        return Definition("", "", All((self.start, self.back)), {})

    def begins(self, now: Micros) -> list[Micros]:
        """Return when each period from the first cohort's to that of now begins.

        :raises DefinitionError: there is none, or there are too many.
        """
        since = self.since.at(now) if isinstance(self.since, Moment) else self.since
        try:
            found = periods(*_CALENDAR[self.every], since, now, self.zone, MOST_COHORTS)
        except OverflowError:
            raise DefinitionError("from: this is too far away") from None
        if not found:
            raise DefinitionError("from: this is later than now")
        if len(found) > MOST_COHORTS:
            raise DefinitionError(f"from: that makes more than {MOST_COHORTS} cohorts; begin later")
        return found


class Cohort(msgspec.Struct, frozen=True):
    """Who began in one period.

    :param came: who came back, for the cohort's own period and each after it that has begun.
    """

    began: Micros
    people: Cell
    came: tuple[Cell, ...]


class Retention(msgspec.Struct, frozen=True):
    """What was found."""

    as_of: int
    question: RetentionQuestion
    cohorts: tuple[Cohort, ...]

    def shown(self, show: Show) -> dict[str, Any]:
        """Return it as somebody may see it: each column is one table, as nobody is in two cohorts."""
        columns: list[Table] = [[cohort.people for cohort in self.cohorts]]
        columns += [
            [cohort.came[after] for cohort in self.cohorts if len(cohort.came) > after]
            for after in range(min(self.question.periods + 1, len(self.cohorts)))
        ]
        sizes, *later = show(columns)
        unknown = [None] * (self.question.periods + 1 - len(later))
        cohorts = []
        for place, (cohort, size) in enumerate(zip(self.cohorts, sizes, strict=True)):
            came = [column[place] if place < len(column) else None for column in later]
            cohorts.append(
                {
                    "from": rfc3339(cohort.began),
                    "size": size,
                    "returned": [*came, *unknown],
                    "shares": [*(None if n is None else share(n, size) for n in came), *unknown],
                }
            )
        asked = self.question
        return {
            "as_of": self.as_of,
            "every": asked.every,
            "timezone": asked.zone,
            "periods": asked.periods,
            "cohorts": cohorts,
        }


def read_retention(data: Mapping[str, Any], fields: FieldCatalogue) -> RetentionQuestion:
    """Read ``{start, return, every, periods, from, timezone}``.

    :raises DefinitionError: it cannot be understood, or asks for what may not be read.
    """
    body = Body(data, fields, "a retention table", {"start", "return", "every", "periods", "from"})
    every: Every = body.data.get("every", "")
    if every not in get_args(Every):
        raise DefinitionError(f"every: this is one of {', '.join(get_args(Every))}")
    count = body.data.get("periods")
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_PERIODS:
        raise DefinitionError(f"periods: this is a number from 1 to {MOST_PERIODS}")
    anchor, unit = _CALENDAR[every]
    since = body.moment("from") if "from" in body.data else Moment(anchor, -count, unit, body.zone)
    return RetentionQuestion(
        _happening(body, "start"), _happening(body, "return"), every, count, since, body.zone
    )


def retained(
    question: RetentionQuestion,
    columns: Mapping[str, Any],
    begins: Sequence[Micros],
    everyone: BitMap,
    as_of: int,
) -> Retention:
    """Return the table, given what the query found (``compile.retention``).

    :param everyone: all profiles that may be counted.
    """
    numbers, places, came = columns["profile_no"], columns["cohort"], columns["came"]
    cohorts = []
    for place, began in enumerate(begins):
        here = places == place
        profiles, bits = numbers[here], came[here]
        about = f"{question.start!r} {question.back!r} {question.every} {question.zone} {began}"
        told = [
            bitmap(profiles[np.bitwise_and(bits, 1 << after) != 0])
            for after in range(min(question.periods + 1, len(begins) - place))
        ]
        cohorts.append(
            Cohort(
                began,
                Cell(f"cohort {about}", bitmap(profiles) & everyone),
                tuple(Cell(f"came {after} {about}", found & everyone) for after, found in enumerate(told)),
            )
        )
    return Retention(as_of, question, tuple(cohorts))


def _happening(body: Body, place: str) -> Event:
    """Return an event that is looked for at any time; whether and when it happened is what the table says."""
    given = body.data.get(place)
    leaf = body.node(place, given)
    if not isinstance(leaf, Event) or leaf != Event(name=leaf.name, type=leaf.type, where=leaf.where):
        raise DefinitionError(
            f"{place}: this is an event by its name, type and where, without a time or a count"
        )
    return leaf
