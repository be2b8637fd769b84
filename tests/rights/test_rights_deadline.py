"""By when a request is answered."""

from __future__ import annotations

import pytest

from cdp.clock import parse_rfc3339, rfc3339
from cdp.policy import Deadline
from cdp.rights.deadline import due_at


def deadline(days: int = 0, months: int = 0, *, working_days: bool = False) -> Deadline:
    return Deadline(
        days=days,
        months=months,
        extension_days=0,
        extension_months=0,
        working_days=working_days,
        source="an example",
    )


@pytest.mark.parametrize(
    ("opened", "given", "due"),
    [
        ("2026-01-31T09:00:00Z", [deadline(months=1)], "2026-02-28T09:00:00Z"),  # no 31 February
        ("2026-12-15T09:00:00Z", [deadline(months=1)], "2027-01-15T09:00:00Z"),
        ("2026-03-01T09:00:00Z", [deadline(45)], "2026-04-15T09:00:00Z"),
        ("2026-03-06T09:00:00Z", [deadline(1, working_days=True)], "2026-03-09T09:00:00Z"),  # a Friday
        ("2026-03-01T09:00:00Z", [deadline(15, working_days=True)], "2026-03-20T09:00:00Z"),
        ("2026-03-01T09:00:00Z", [deadline(45), deadline(months=1)], "2026-04-01T09:00:00Z"),
        ("2026-03-01T09:00:00Z", [], "2026-03-31T09:00:00Z"),
    ],
)
def test_the_earliest_of_all_deadlines_that_may_bind(opened: str, given: list[Deadline], due: str) -> None:
    assert rfc3339(due_at(parse_rfc3339(opened), given)) == due
