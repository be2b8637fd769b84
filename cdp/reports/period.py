"""The period of a report, and the pieces that it is cut into. Pure.

A period is [from, to): times or days (UTC), as ``to`` says them. It is never empty, never reversed, and never
longer than ten years.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import msgspec

from cdp.clock import DAY, Micros, day, parse_rfc3339, rfc3339
from cdp.errors import InvalidInputError

Piece = Literal["day", "week", "month"]
_MOST_DAYS = 3660
_MOST_PIECES_DAYS = 366


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """[from_, to)."""

    from_: Micros
    to: Micros

    def holds(self, at: Micros) -> bool:
        """Return whether an instant lies in it."""
        return self.from_ <= at < self.to

    def shown(self) -> dict[str, str]:
        """Return it as reports show it."""
        return {"from": rfc3339(self.from_), "to": rfc3339(self.to)}


def period(from_: str | None, to: str | None, now: Micros, days: int) -> Period:
    """Return the period that two texts name.

    :param days: how long it is where nobody says when it begins.
    :raises InvalidInputError: one of them is no time, or it is reversed, empty, too long or yet to come.
    """
    end = now + 1 if not to else _instant("to", to)
    begin = max(min(end, now) - days * DAY, 0) if not from_ else _instant("from", from_)
    if begin >= end:
        raise InvalidInputError("the period is empty: from is not before to")
    if begin > now:
        raise InvalidInputError("the period begins in the future")
    if end - begin > _MOST_DAYS * DAY:
        raise InvalidInputError(f"the period is longer than {_MOST_DAYS} days")
    return Period(from_=begin, to=end)


def check_pieces(whole: Period, by: Piece) -> None:
    """Refuse what nobody could read: more than a year of days.

    :raises InvalidInputError: it is that long.
    """
    if by == "day" and whole.to - whole.from_ > _MOST_PIECES_DAYS * DAY:
        raise InvalidInputError(f"by day at most {_MOST_PIECES_DAYS} days; take weeks or months for more")


def piece_of(at: Micros, by: Piece) -> str:
    """Return the day (``2026-03-01``), ISO week (``2026-W09``) or month (``2026-03``) of an instant, UTC."""
    on = day(at)
    if by == "day":
        return on.isoformat()
    if by == "month":
        return on.isoformat()[:7]
    year, week, _ = on.isocalendar()
    return f"{year}-W{week:02}"


def on_day(date: str) -> Micros:
    """Return the instant at which a day (``2026-03-01``) is over."""
    return parse_rfc3339(date) + timedelta(days=1) // timedelta(microseconds=1)


def _instant(name: str, text: str) -> Micros:
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise InvalidInputError(f"{name} is no day (2026-03-01) and no RFC 3339 time") from None
