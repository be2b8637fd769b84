"""Whoever came by import and was given no notice within a month (GDPR Art. 14(3)(a)). Pure.

1. Somebody *came by import* when the first that was ever received of them came from a source of kind
   ``import``: all others were told when they gave the data themselves (Art. 13).
2. They were *told* when a notice was first given to them (``informed``), or when they acted on one.
3. A month is 30 days, rounded down. A person's identities are one person: their first arrival, their first
   notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdp.clock import DAY, Micros, rfc3339

WITHIN: Micros = 30 * DAY
STATES = ("in_time", "late", "waiting", "overdue")
Numbers = NDArray[np.int64]


def imported(
    arrivals: Numbers, told: Numbers, profile_of: Mapping[int, int], now: Micros
) -> dict[str, int | str | None]:
    """Return how many people were told in time, late, wait within their month, or are overdue.

    :param arrivals: (identity_no, when it first came by import, when otherwise; 0: never).
    :param told: (identity_no, when it was first given a notice).
    :param profile_of: identity_no → its person.
    """
    came: dict[int, Micros] = {}
    other: dict[int, Micros] = {}
    for number, at, otherwise in arrivals.tolist():
        person = profile_of.get(number)
        if person is not None:
            came[person] = min(at, came.get(person, at))
            if otherwise:
                other[person] = min(otherwise, other.get(person, otherwise))
    heard: dict[int, Micros] = {}
    for number, at in told.tolist():
        person = profile_of.get(number)
        if person in came:
            heard[person] = min(at, heard.get(person, at))
    counts: dict[str, int] = dict.fromkeys(STATES, 0)
    next_due: Micros | None = None
    for person, at in came.items():
        if other.get(person, at) < at:
            continue
        due = at + WITHIN
        if person in heard:
            counts["in_time" if heard[person] <= due else "late"] += 1
        elif due < now:
            counts["overdue"] += 1
        else:
            counts["waiting"] += 1
            next_due = due if next_due is None else min(due, next_due)
    shown: dict[str, Any] = {"imported": sum(counts.values()), **counts}
    return {**shown, "next_due": None if next_due is None else rfc3339(next_due)}
