"""Notice to whoever came by import (GDPR Art. 14)."""

from __future__ import annotations

from typing import Any

import numpy as np
from caller import Caller
from report_world import consent, identify, report

from cdp.clock import DAY, FixedClock
from cdp.reports.notices import imported


def notices(caller: Caller) -> dict[str, Any]:
    (row,) = report(caller, "notices")["sources"]
    assert isinstance(row, dict)
    return row


def test_who_was_imported_waits_is_told_or_is_overdue(caller: Caller, clock: FixedClock) -> None:
    caller.send(identify("dan"))
    clock.advance(DAY)
    caller.send(*map(identify, ("ann", "bob", "cyd")), kind="import")
    caller.send({**identify("dan"), "messageId": "m-again"}, kind="import")
    assert (notices(caller)["imported"], notices(caller)["waiting"]) == (3, 3), "Dan came by himself"
    consent(caller, "ann", "informed")
    assert (notices(caller)["in_time"], notices(caller)["waiting"]) == (1, 2)
    clock.advance(31 * DAY)
    assert (notices(caller)["overdue"], notices(caller)["next_due"]) == (2, None)
    consent(caller, "bob", "informed")
    assert (notices(caller)["late"], notices(caller)["overdue"]) == (1, 1)


def test_without_imports_nobody_waits(caller: Caller) -> None:
    caller.send(identify("dan"))
    assert report(caller, "notices")["sources"] == []


def test_a_persons_identities_are_one_person() -> None:
    arrivals = np.array([(1, 10 * DAY, 0), (2, 20 * DAY, 5 * DAY), (3, 20 * DAY, 0)], np.int64)
    told = np.array([(4, 15 * DAY)], np.int64)
    found = imported(arrivals, told, {1: 1, 4: 1, 2: 2, 3: 3}, 60 * DAY)
    assert (found["imported"], found["in_time"], found["overdue"]) == (2, 1, 1), "2 came otherwise before"
