"""When something is sent again, to whoever did not take it: pure.

The schedule is the sample of Standard Webhooks (specification 1.0, "Retries"), about 75 hours in all, each
wait up to a fifth longer, so that receivers that came back are not asked by everybody at once.
"""

from __future__ import annotations

import random
from email.utils import parsedate_to_datetime

from cdp.clock import DAY, SECOND, Micros, micros

_SCHEDULE = tuple(s * SECOND for s in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400))
_LONGEST_WAIT = DAY
_random = random.SystemRandom()


def next_try(tried: int, wait: Micros, now: Micros) -> Micros | None:
    """Return when to try again; None after the last time.

    :param tried: how often it was tried before this time.
    :param wait: microseconds that the receiver asks to wait.
    """
    if tried >= len(_SCHEDULE):
        return None
    return now + max(int(_SCHEDULE[tried] * _random.uniform(1.0, 1.2)), wait)


def asked_to_wait(text: str, now: Micros) -> Micros:
    """Return what ``Retry-After`` asks for (RFC 9110, 10.2.3): seconds or a date, a day at most."""
    try:
        wait = int(text) * SECOND if text.isdigit() else micros(parsedate_to_datetime(text)) - now
    except (ValueError, TypeError, OverflowError):  # a date of a year that no calendar has, for one
        return 0
    return min(max(wait, 0), _LONGEST_WAIT)
