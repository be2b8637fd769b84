"""By when a request is answered: pure.

A period in months ends on the day of the same number, or on the month's last day where there is none
(Regulation (EEC, Euratom) No 1182/71, Art. 3(2)(c)). A period in working days skips Saturdays and Sundays;
public holidays would only ever make it longer.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cdp.clock import DAY, SECOND, Micros
from cdp.policy import Deadline

DEFAULT_DAYS = 30
"""Where policies name no deadline: the month of GDPR Art. 12(3), rounded down."""


def due_at(opened_at: Micros, deadlines: Iterable[Deadline]) -> Micros:
    """Return the earliest instant at which one of ``deadlines`` ends for a request made at ``opened_at``.

    The earliest, because several laws may bind and who asks has not been asked where they live.
    """
    ends = [_end(opened_at, deadline) for deadline in deadlines]
    return min(ends, default=opened_at + DEFAULT_DAYS * DAY)


def _end(opened_at: Micros, deadline: Deadline) -> Micros:
    day = datetime.fromtimestamp(opened_at // SECOND, UTC)
    months = day.month - 1 + deadline.months
    year, month = day.year + months // 12, months % 12 + 1
    day = day.replace(year=year, month=month, day=min(day.day, monthrange(year, month)[1]))
    left = deadline.days
    while left > 0:
        day += timedelta(days=1)
        left -= not deadline.working_days or day.weekday() < 5
    return int(day.timestamp()) * SECOND + opened_at % SECOND
