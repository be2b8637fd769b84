"""Dates of birth as sources write them: digits for comparing, and the parts where they are a date.

What a value means is told by its column: ``YYYYMMDD`` and ``YYYY-MM-DD`` mean themselves; of ``03/04/1980``
the day stands first unless the column has more values in which that cannot be. An invalid date keeps its
digits, for a typo in it is still one character away from the true one, and the parts that can be.
"""

from __future__ import annotations

import re
from typing import Any

from cdp.identity import fold

_YEAR_FIRST = re.compile(r"(\d{4})\D?(\d{1,2})\D?(\d{1,2})(?!\d)")
_YEAR_LAST = re.compile(r"(\d{1,2})\D(\d{1,2})\D(\d{4})(?!\d)")
_YEAR = re.compile(r"(\d{4})")
_MONTH = re.compile(r"(\d{4})\D(\d{1,2})")


def dates(values: list[str]) -> dict[str, list[Any]]:
    """Return digits, coarse key, year, month and day of each value; null for what it has not."""
    folded = [fold(value[:40]).strip() for value in values]
    last = [found.groups() for one in folded if (found := _YEAR_LAST.match(one))]
    month_first = sum(int(b) > 12 for _, b, _ in last) > sum(int(a) > 12 for a, _, _ in last)
    made: dict[str, list[Any]] = {suffix: [] for suffix in ("", "_k", "_y", "_m", "_d")}
    for one in folded:
        digits, year, month, day = _parts(one, month_first=month_first)
        made[""].append(digits or None)
        made["_k"].append(digits[:4] if year else None)
        made["_y"].append(year)
        made["_m"].append(month)
        made["_d"].append(day)
    return made


def _parts(text: str, *, month_first: bool) -> tuple[str, int | None, int | None, int | None]:
    if found := _MONTH.fullmatch(text):
        return f"{found[1]}{int(found[2]):02}", int(found[1]), int(found[2]) or None, None
    if found := _YEAR_FIRST.match(text):
        year, month, day = map(int, found.groups())
    elif found := _YEAR_LAST.match(text):
        first, second, year = map(int, found.groups())
        month, day = (first, second) if month_first else (second, first)
    elif found := _YEAR.fullmatch(text):
        return found[1], int(found[1]), None, None
    else:
        return "".join(filter(str.isdecimal, text)), None, None, None
    return (
        f"{year:04}{month:02}{day:02}",
        year or None,
        month if 1 <= month <= 12 else None,
        day if 1 <= day <= 31 else None,
    )
