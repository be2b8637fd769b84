"""scheduled: when a segment is found anew that keeps its members in between. Pure.

A schedule names instants on the wall clock of the definition's time zone: each day, each Monday, or each
first of the month, at an hour and minute; or each hour (UTC). A wall time that clocks skip or show twice is
taken as in ``moments``.
"""

from __future__ import annotations

from datetime import datetime, time
from typing import Literal, get_args
from zoneinfo import ZoneInfo

import msgspec

from cdp.clock import SECOND, Micros, micros
from cdp.segments.moments import Anchor, Moment, Unit

Every = Literal["hour", "day", "week", "month"]
EVERY: tuple[str, ...] = get_args(Every)
AT = "([01][0-9]|2[0-3]):([0-5][0-9])"
"""The form of a time of day."""
_HOUR = 3600 * SECOND
_BEGINS: dict[Every, tuple[Anchor, Unit]] = {
    "day": ("today", "d"),
    "week": ("this_week", "w"),
    "month": ("this_month", "mo"),
}


class Schedule(msgspec.Struct, frozen=True):
    """``{every: week, at: "06:00"}``: from when on members are found anew.

    :param minute: of the day, on the clocks of ``zone``; 0 for an hourly one.
    """

    every: Every
    minute: int
    zone: str

    def due(self, now: Micros) -> Micros:
        """Return the last instant of the schedule that is not later than ``now``."""
        if self.every == "hour":
            return now - now % _HOUR
        anchor, unit = _BEGINS[self.every]
        this = self._at(Moment(anchor, 0, unit, self.zone).at(now))
        return this if this <= now else self._at(Moment(anchor, -1, unit, self.zone).at(now))

    def _at(self, midnight: Micros) -> Micros:
        zone = ZoneInfo(self.zone)
        day = datetime.fromtimestamp(midnight // SECOND, zone).date()
        return micros(datetime.combine(day, time(*divmod(self.minute, 60)), zone))
