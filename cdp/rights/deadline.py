"""By when a request is answered: pure.

A period runs from the day on which the person asked, which is not counted, and ends with the last second of
its last day, both by the clocks of the controller's time zone (Regulation (EEC, Euratom) No 1182/71, Art.
3(1) and (2)). A period in months ends on the day of the same number, or on the month's last day where there
is none (Art. 3(2)(c)). A period in working days skips Saturdays and Sundays. Public holidays, and a last day
on which nobody works, would only ever make a period longer, and are left out.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from cdp.clock import SECOND, Micros, micros
from cdp.policy import Deadline, Term

DEFAULT_DAYS = 30
"""Where policies name no deadline: the month of GDPR Art. 12(3), rounded down."""
Due = Literal["ok", "soon", "late", "done"]
_SOON, _VERY_SOON = 50, 80
_LAST = time(23, 59, 59)


def due_at(asked_at: Micros, deadlines: Iterable[Deadline], zone: str, *, extended: bool = False) -> Micros:
    """Return the earliest instant at which one of ``deadlines`` ends for a request made at ``asked_at``.

    :param zone: IANA name of the controller's time zone.
    :param extended: with the extension that each of them knows; one that knows none ends as it did.
    """
    asked = _day(asked_at, zone)
    ends = [_end(asked, deadline, extended=extended) for deadline in deadlines]
    return _closing(min(ends, default=asked + timedelta(days=DEFAULT_DAYS)), zone)


def period_end(start: Micros, period: Term, zone: str) -> Micros:
    """Return the last second of a period that runs from ``start``."""
    return _closing(_after(_day(start, zone), period.months, period.days, working=period.working_days), zone)


def used(asked_at: Micros, due: Micros, now: Micros) -> int:
    """Return how much of its time a request has used, in per cent; a clock that was set back uses none."""
    return max(0, (now - asked_at) * 100 // max(due - asked_at, 1))


def due_state(asked_at: Micros, due: Micros, now: Micros) -> Due:
    """Return how urgent a request is that has not ended: ``soon`` from half of its time on."""
    if now > due:
        return "late"
    return "soon" if used(asked_at, due, now) >= _SOON else "ok"


def reminder(asked_at: Micros, due: Micros, now: Micros) -> Literal[0, 50, 80, 100]:
    """Return the last of the marks, in per cent of its time, that a request has passed; 100: it is late."""
    if now > due:
        return 100
    part = used(asked_at, due, now)
    return 80 if part >= _VERY_SOON else 50 if part >= _SOON else 0


def _day(at: Micros, zone: str) -> date:
    return datetime.fromtimestamp(at // SECOND, UTC).astimezone(ZoneInfo(zone)).date()


def _closing(day: date, zone: str) -> Micros:
    """Return the last second of a day; where the clocks show it twice, the first."""
    return micros(datetime.combine(day, _LAST, ZoneInfo(zone)))


def _end(asked: date, deadline: Deadline, *, extended: bool) -> date:
    months = deadline.months + (deadline.extension_months if extended else 0)
    days = deadline.days + (deadline.extension_days if extended else 0)
    return _after(asked, months, days, working=deadline.working_days)


def _after(start: date, months: int, days: int, *, working: bool) -> date:
    month = start.month - 1 + months
    year, month = start.year + month // 12, month % 12 + 1
    day = start.replace(year=year, month=month, day=min(start.day, monthrange(year, month)[1]))
    if not working:
        return day + timedelta(days=days)
    while days > 0:
        day += timedelta(days=1)
        days -= day.weekday() < 5
    return day
