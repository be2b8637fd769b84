"""How old somebody may be by what was told of them: pure, and always the youngest reading.

Everything told becomes one figure, the **latest day on which the person may have been born**: a date of birth
is itself, an age or the lowest age of a range counts back from the day on which it was told. Somebody is a
known minor while the latest of these days, over everything ever told, is less than 18 years ago.

Invariants:

1. What can be read in two ways (05/04/2010, a year alone) counts as the later day.
2. What says something that cannot be read counts as ``date.max``: were it taken for nothing, a known minor
   would become nobody's child by a spelling mistake (property 6). A blank, and a birthday without its year,
   say nothing.
3. No value raises: one that did would stop every decision.
4. A date is of the years 1800 to 2200, and eight digits are a date or unreadable, never a moment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, timedelta
from typing import Literal

from cdp.clock import Micros
from cdp.clock import day as day_of

AgeKind = Literal["birth", "age"]
"""What a value tells: the day of birth, or an age in years or a range of ages."""
MAJORITY = 18
_OLDEST = 130
_FIRST_YEAR, _LAST_YEAR = 1800, 2200
_SECONDS = 100_000_000
"""Of less digits nothing counts seconds: a date, an age or a zero in the wrong place, not a day of 1970."""
_UNREADABLE = date.max
_YEARLESS = re.compile(r"--\d{2}-?\d{2}|\d{1,2}[-./]\d{1,2}")  # 05-03, 05/03, --0503 (vCard)
_COMPACT = (8, 12)
"""Digits of a date, and of one with hour and minute."""
_NUMBER = re.compile(r"-?\d+")
_YEAR_FIRST = re.compile(r"(\d{4})\D{1,2}(\d{1,2})(?:\D{1,2}(\d{1,2})(?!\d).*)?\D?", re.DOTALL)
_YEAR_LAST = re.compile(r"(\d{1,2})\D{1,2}(\d{1,2})\D{1,2}(\d{4})(?!\d).*", re.DOTALL)
_RANGE = re.compile(  # 17, 16-24, 18 to 24, 65+, over 17, 17 years old
    r"(?:>=?|≥|over|from|aged?)?\s*(\d{1,3})(?:\.\d+)?(?:\s*(?:-|–|to|_)\s*(\d{1,3})|\s*\+)?"
    r"(?:\s*(?:years?|yrs?|y)(?:\s+old)?)?",
    re.IGNORECASE,
)
_AT_MOST = re.compile(r"(?:<=?|≤|under|below|up to)\s*\d{1,3}", re.IGNORECASE)
_LONGEST = 100


def of_age(now: Micros) -> date:
    """Return the last day of birth of those who are of age.

    One cut-off for the last days of a month: on leap days nobody comes of age too early.
    """
    today = day_of(now)
    return today.replace(year=today.year - MAJORITY, day=min(today.day, 28))


def born_by(kind: AgeKind, value: object, told_at: Micros) -> date | None:
    """Return the latest day of birth that a told value leaves possible.

    :param told_at: when it was told; an age counts back from there.
    :returns: ``date.max`` for what cannot be read; None when it says nothing.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return _UNREADABLE
    if isinstance(value, str):
        value = value.strip()[:_LONGEST]
    try:
        if kind == "age":
            age = _lowest_age(value)
            return _UNREADABLE if age is None else _years_before(day_of(told_at), age)
        if isinstance(value, str) and _YEARLESS.fullmatch(value):
            return None
        found = _from_text(value) if isinstance(value, str) else _from_number(value)
        return max((day for day in found if _FIRST_YEAR <= day.year <= _LAST_YEAR), default=_UNREADABLE)
    except (ValueError, ArithmeticError):
        return _UNREADABLE


def _lowest_age(value: str | float) -> int | None:
    """Return the lowest age that a number or a range leaves possible; None for what cannot be read.

    Only what is written in a known way is read: "unter 18" has an 18 in it and is no 18.
    """
    if not isinstance(value, str):
        return int(value) if 0 <= value <= _OLDEST else None
    if _AT_MOST.fullmatch(value):
        return 0
    found = _RANGE.fullmatch(value)
    ages = [] if found is None else [int(text) for text in found.groups() if text]
    return min(ages) if ages and max(ages) <= _OLDEST else None


def _from_number(value: float) -> Iterator[date]:
    """Yield the readings of a number: a year, a date of eight digits, seconds or milliseconds since 1970."""
    if _FIRST_YEAR <= value <= _LAST_YEAR:
        yield date(int(value), 12, 31)
    yield from _from_digits(str(int(value)))
    if abs(value) < _SECONDS:
        return
    for unit in (1, 1000):
        with suppress(OverflowError):
            day = date(1970, 1, 1) + timedelta(seconds=value / unit)
            if _FIRST_YEAR <= day.year <= _LAST_YEAR:
                yield day
                return


def _from_digits(text: str) -> Iterator[date]:
    """Yield the readings of YYYYMMDD, DDMMYYYY or MMDDYYYY, to which hours and minutes may be joined."""
    if len(text) in _COMPACT:
        yield from _dates(
            (text[:4], text[4:6], text[6:8]),
            (text[4:8], text[2:4], text[:2]),
            (text[4:8], text[:2], text[2:4]),
        )


def _from_text(text: str) -> Iterator[date]:
    """Yield the readings of text: year first, or year last with day or month in front; or a number."""
    if (found := _YEAR_FIRST.fullmatch(text)) is not None:
        year, month, day = found.groups()
        if day:
            yield from _dates((year, month, day))
        else:
            yield _last_of_month(int(year), int(month))
    elif (found := _YEAR_LAST.fullmatch(text)) is not None:
        one, other, year = found.groups()
        yield from _dates((year, one, other), (year, other, one))
    elif _NUMBER.fullmatch(text):
        yield from _from_digits(text)  # here with the zero in front that a number has lost
        yield from _from_number(int(text))


def _dates(*readings: tuple[str, str, str]) -> Iterator[date]:
    """Yield those of (year, month, day) that there are."""
    for year, month, day in readings:
        with suppress(ValueError):
            yield date(int(year), int(month), int(day))


def _last_of_month(year: int, month: int) -> date:
    following = date(year, month, 28) + timedelta(days=4)
    return following - timedelta(days=following.day)


def _years_before(day: date, years: int) -> date:
    """Return the day so many years before; the first of March where there is no such day."""
    try:
        return day.replace(year=day.year - years)
    except ValueError:
        return date(day.year - years, 3, 1)
