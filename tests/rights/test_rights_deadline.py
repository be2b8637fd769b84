"""By when a request is answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.clock import DAY, SECOND, parse_rfc3339, rfc3339
from cdp.policy import Deadline
from cdp.rights.deadline import due_at, due_state, reminder, used

BERLIN, NEW_YORK, UTC_ZONE = "Europe/Berlin", "America/New_York", "UTC"
ZONES = [BERLIN, NEW_YORK, UTC_ZONE, "Asia/Shanghai", "Pacific/Kiritimati", "Australia/Lord_Howe"]


def deadline(
    days: int = 0, months: int = 0, *, working_days: bool = False, more_days: int = 0, more_months: int = 0
) -> Deadline:
    return Deadline(
        days=days,
        months=months,
        extension_days=more_days,
        extension_months=more_months,
        working_days=working_days,
        source="an example",
    )


@pytest.mark.parametrize(
    ("asked", "given", "zone", "due"),
    [
        ("2026-01-31T09:00:00Z", [deadline(months=1)], UTC_ZONE, "2026-02-28T23:59:59Z"),  # no 31 February
        ("2028-01-31T09:00:00Z", [deadline(months=1)], UTC_ZONE, "2028-02-29T23:59:59Z"),  # a leap year
        (
            "2100-01-31T09:00:00Z",
            [deadline(months=1)],
            UTC_ZONE,
            "2100-02-28T23:59:59Z",
        ),  # and one that is none
        ("2028-02-29T09:00:00Z", [deadline(months=12)], UTC_ZONE, "2029-02-28T23:59:59Z"),
        ("2026-12-15T09:00:00Z", [deadline(months=1)], UTC_ZONE, "2027-01-15T23:59:59Z"),
        ("2026-03-01T09:00:00Z", [deadline(45)], UTC_ZONE, "2026-04-15T23:59:59Z"),
        (
            "2026-03-06T09:00:00Z",
            [deadline(1, working_days=True)],
            UTC_ZONE,
            "2026-03-09T23:59:59Z",
        ),  # a Friday
        ("2026-03-07T09:00:00Z", [deadline(1, working_days=True)], UTC_ZONE, "2026-03-09T23:59:59Z"),
        ("2026-03-01T09:00:00Z", [deadline(15, working_days=True)], UTC_ZONE, "2026-03-20T23:59:59Z"),
        ("2026-03-01T09:00:00Z", [deadline(45), deadline(months=1)], UTC_ZONE, "2026-04-01T23:59:59Z"),
        ("2026-03-01T09:00:00Z", [], UTC_ZONE, "2026-03-31T23:59:59Z"),
        # half an hour before midnight in Greenwich is the next day in Berlin, whose clocks change in between
        ("2026-02-28T23:30:00Z", [deadline(months=1)], BERLIN, "2026-04-01T21:59:59Z"),
        ("2026-10-24T21:00:00Z", [deadline(1)], BERLIN, "2026-10-25T22:59:59Z"),  # a day of 25 hours
        ("2026-03-28T12:00:00Z", [deadline(1)], BERLIN, "2026-03-29T21:59:59Z"),  # and one of 23
        (
            "2026-03-01T03:00:00Z",
            [deadline(months=1)],
            NEW_YORK,
            "2026-03-29T03:59:59Z",
        ),  # still February there
    ],
)
def test_the_last_second_of_the_earliest_day(asked: str, given: list[Deadline], zone: str, due: str) -> None:
    assert rfc3339(due_at(parse_rfc3339(asked), given, zone)) == due


@pytest.mark.parametrize(
    ("given", "due"),
    [
        ([deadline(months=1, more_months=2)], "2026-04-30T23:59:59Z"),  # three months from the first day
        ([deadline(45, more_days=45)], "2026-05-01T23:59:59Z"),
        ([deadline(45, more_days=45), deadline(15, working_days=True)], "2026-02-20T23:59:59Z"),  # knows none
    ],
)
def test_an_extension_counts_from_the_first_day(given: list[Deadline], due: str) -> None:
    assert rfc3339(due_at(parse_rfc3339("2026-01-31T09:00:00Z"), given, UTC_ZONE, extended=True)) == due


instants = st.integers(parse_rfc3339("2000-01-01") // SECOND, parse_rfc3339("2099-01-01") // SECOND).map(
    lambda at: at * SECOND
)
deadlines = st.builds(
    deadline, st.integers(1, 90), working_days=st.booleans(), more_days=st.integers(0, 90)
) | st.builds(deadline, months=st.integers(1, 12), more_months=st.integers(0, 12))


@given(instants, st.lists(deadlines, max_size=4), deadlines, st.sampled_from(ZONES))
def test_one_more_law_never_gives_more_time(
    asked: int, several: list[Deadline], one: Deadline, zone: str
) -> None:
    due = due_at(asked, several, zone)
    if several:
        assert due_at(asked, [*several, one], zone) <= due
    assert asked < due <= due_at(asked, several, zone, extended=True)
    local = datetime.fromtimestamp(due // SECOND, UTC).astimezone(ZoneInfo(zone))
    assert (local.hour, local.minute, local.second) == (23, 59, 59)


@given(instants, st.integers(1, 400), st.sampled_from(ZONES))
def test_days_are_days_of_the_calendar(asked: int, days: int, zone: str) -> None:
    due = datetime.fromtimestamp(due_at(asked, [deadline(days)], zone) // SECOND, UTC)
    first = datetime.fromtimestamp(asked // SECOND, UTC).astimezone(ZoneInfo(zone)).date()
    assert due.astimezone(ZoneInfo(zone)).date() == first + timedelta(days=days)


def test_it_is_soon_from_half_of_the_time_on_and_late_after_it() -> None:
    due = 10 * DAY
    assert [due_state(0, due, at) for at in (-DAY, 0, 5 * DAY - 1, 5 * DAY, due, due + 1)] == [
        "ok", "ok", "ok", "soon", "soon", "late",
    ]  # fmt: skip
    assert [reminder(0, due, at) for at in (0, 5 * DAY, 8 * DAY - DAY, 8 * DAY, due, due + 1)] == [
        0, 50, 50, 80, 80, 100,
    ]  # fmt: skip
    assert used(5, 5, 5) == 0
