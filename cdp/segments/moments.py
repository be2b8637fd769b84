"""moments: points of the calendar, in a stated time zone, that move with the day. Pure.

A moment is the beginning of the day, week (Monday), month, quarter or year that it is now, moved by whole
days, weeks, months, quarters or years of the calendar: ``today-7d``, ``this_month-1mo``. It is reckoned on
the wall clock of its zone, so that a day is one of 23 hours where clocks are put forward. A wall time that
clocks skip is what it would have been without the change; of one that they show twice, the first counts.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Literal, cast, get_args
from zoneinfo import ZoneInfo

import msgspec

from cdp.clock import SECOND, Micros, micros

Anchor = Literal["today", "this_week", "this_month", "this_quarter", "this_year"]
Unit = Literal["d", "w", "mo", "q", "y"]
PATTERN = rf"({'|'.join(get_args(Anchor))})(?:([+-])([0-9]{{1,4}})({'|'.join(get_args(Unit))}))?"
"""The form of a point of the calendar."""
_LOCAL = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)?")
_MONTHS = {"mo": 1, "q": 3, "y": 12}


class Moment(msgspec.Struct, frozen=True):
    """A point of the calendar.

    :param shift: by how many ``unit`` it is moved; negative: back.
    :param zone: an IANA time zone.
    """

    anchor: Anchor
    shift: int
    unit: Unit
    zone: str

    def at(self, now: Micros) -> Micros:
        """Return the instant that it is at ``now``.

        :raises OverflowError: it lies outside the years that can be written.
        """
        zone = ZoneInfo(self.zone)
        today = datetime.fromtimestamp(now // SECOND, zone).date()
        try:
            moved = _moved(_beginning(today, self.anchor), self.shift, self.unit)
        except ValueError as error:
            raise OverflowError(str(error)) from None
        return micros(datetime(moved.year, moved.month, moved.day, tzinfo=zone))


def moment(text: str, zone: str) -> Moment | None:
    """Return the moment that ``text`` names, None when it names none."""
    found = re.fullmatch(PATTERN, text)
    if found is None:
        return None
    shift = int(f"{found[2]}{found[3]}") if found[2] else 0
    return Moment(cast("Anchor", found[1]), shift, cast("Unit", found[4] or "d"), zone)


def local(text: str, zone: str) -> Micros | None:
    """Return the instant of a date, or a date and time, on the wall clock of ``zone``.

    :returns: None when ``text`` has an offset of its own, or is neither.
    :raises ValueError: there is no such date.
    """
    if not _LOCAL.fullmatch(text):
        return None
    return micros(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC))


def periods(anchor: Anchor, unit: Unit, since: Micros, until: Micros, zone: str, most: int) -> list[Micros]:
    """Return when the period of the calendar that holds ``since`` began, and each after it until ``until``.

    Of a day that a zone left out the instant is that of the next one.

    :param anchor: whose beginning a period has; ``unit`` how far the next one is.
    :param most: at most so many are returned, and one more where there are more.
    :raises OverflowError: one lies outside the years that can be written.
    """
    here = ZoneInfo(zone)
    try:
        first = _beginning(datetime.fromtimestamp(since // SECOND, here).date(), anchor)
    except (ValueError, OSError) as error:
        raise OverflowError(str(error)) from None
    found: list[Micros] = []
    while len(found) <= most:
        began = _moved(first, len(found), unit)
        at = micros(datetime(began.year, began.month, began.day, tzinfo=here))
        if at > until:
            break
        found.append(at)
    return found


def _beginning(today: date, anchor: Anchor) -> date:
    if anchor == "this_week":
        return today - timedelta(days=today.weekday())
    if anchor == "this_month":
        return today.replace(day=1)
    if anchor == "this_quarter":
        return today.replace(month=(today.month - 1) // 3 * 3 + 1, day=1)
    if anchor == "this_year":
        return today.replace(month=1, day=1)
    return today


def _moved(day: date, shift: int, unit: Unit) -> date:
    """Move a day; by months it stays in the month that it comes to: 31 January + 1mo is in February."""
    if unit in {"d", "w"}:
        try:
            return day + timedelta(days=shift * (7 if unit == "w" else 1))
        except OverflowError as error:
            raise ValueError(str(error)) from None
    month = day.year * 12 + day.month - 1 + shift * _MONTHS[unit]
    first = date(month // 12, month % 12 + 1, 1)
    following = date((month + 1) // 12, (month + 1) % 12 + 1, 1)
    return min(first + timedelta(days=day.day - 1), following - timedelta(days=1))
