"""Scheduled segments keep their members until they are due."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from generated import FIELDS
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from population import NOW
from rig import Rig

from cdp.clock import DAY, parse_rfc3339
from cdp.errors import DefinitionError
from cdp.segments import lag, parse
from cdp.segments.scheduled import Schedule
from cdp.segments.schema import schema

DAILY: dict[str, Any] = {
    "name": "daily",
    "schedule": {"every": "day", "at": "06:00"},
    "where": {"event": "A"},
}


@pytest.fixture
def rig(database_url: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(database_url, tmp_path / "warehouse")
    with made.people.committer.batch() as batch:
        made.people.link(batch, [1], [2], [3])
        made.people.event(batch, 1, "A", at=NOW - 1)
    made.mirror.refresh()
    made.segments.apply("ann", DAILY)
    made.segments.apply("ann", {"name": "always", "where": {"event": "A"}})
    made.follow()
    yield made
    made.close()


def happen(rig: Rig, number: int) -> None:
    with rig.people.committer.batch() as batch:
        rig.people.event(batch, number, "A", at=NOW - 1)
    rig.mirror.refresh()
    rig.follow()


def members(rig: Rig, name: str = "daily") -> set[int]:
    found = set(rig.segments.members(name).bitmap)
    assert set(rig.segments.evaluate(name).bitmap) == found
    return found


def test_members_stay_until_the_next_one_is_due(rig: Rig) -> None:
    happen(rig, 2)  # at midnight
    assert (members(rig), members(rig, "always")) == ({1}, {1, 2})
    assert rig.segments.preview({"where": DAILY["where"]}).count == 2
    rig.people.clock.advance(DAY // 4 - 1)
    assert rig.segments.keep_schedules() == 0
    assert members(rig) == {1}
    rig.people.clock.advance(1)  # six o'clock
    assert rig.segments.keep_schedules() == 1
    assert rig.segments.keep_schedules() == 0
    assert members(rig) == {1, 2}
    (change,) = [one for one in rig.changes() if one.name == "daily"]
    assert (set(change.entered), set(change.exited), change.changed_at) == ({2}, set(), NOW + DAY // 4)
    happen(rig, 3)
    rig.people.clock.advance(DAY)
    assert members(rig) == {1, 2, 3}  # due, and nobody had looked yet


def test_what_is_scheduled_is_not_behind(rig: Rig) -> None:
    rig.segments.delete("ann", "always")
    happen(rig, 2)
    rig.people.clock.advance(DAY)
    assert lag(rig.people.store, rig.people.clock).commits == 0


def test_who_is_restrained_leaves_at_once(rig: Rig) -> None:
    happen(rig, 2)
    rig.people.clock.advance(DAY)
    assert members(rig) == {1, 2}
    rig.restrained = {1}
    assert members(rig) == {2}
    rig.people.people([1, 2])  # one with somebody restrained
    assert members(rig) == set()


def test_a_new_version_is_evaluated_and_without_a_schedule_followed(rig: Rig) -> None:
    happen(rig, 2)
    rig.segments.apply("ann", {**DAILY, "where": {"event": "A", "count": {"gte": 1}}})
    assert members(rig) == {1, 2}
    rig.segments.apply("ann", {"name": "daily", "where": {"event": "A"}})
    happen(rig, 3)
    assert set(rig.stored("daily")) == {1, 2, 3}


@pytest.mark.parametrize(
    ("schedule", "zone", "now", "due"),
    [
        ({"every": "hour"}, "UTC", "2024-05-01T10:59:59Z", "2024-05-01T10:00:00Z"),
        ({"every": "day"}, "UTC", "2024-05-01T00:00:00Z", "2024-05-01T00:00:00Z"),
        ({"every": "day", "at": "06:30"}, "Europe/Berlin", "2024-05-01T04:29:59Z", "2024-04-30T04:30:00Z"),
        ({"every": "day", "at": "06:30"}, "Europe/Berlin", "2024-05-01T04:30:00Z", "2024-05-01T04:30:00Z"),
        ({"every": "day", "at": "02:30"}, "Europe/Berlin", "2024-03-31T12:00:00Z", "2024-03-31T01:30:00Z"),
        ({"every": "day", "at": "02:30"}, "Europe/Berlin", "2024-10-27T12:00:00Z", "2024-10-27T00:30:00Z"),
        ({"every": "week", "at": "09:00"}, "UTC", "2024-05-06T08:59:00Z", "2024-04-29T09:00:00Z"),
        ({"every": "month", "at": "23:59"}, "UTC", "2024-03-01T00:00:00Z", "2024-02-01T23:59:00Z"),
    ],
)
def test_when_it_is_due(schedule: Any, zone: str, now: str, due: str) -> None:
    definition = parse({"timezone": zone, "schedule": schedule, "where": {"event": "A"}}, FIELDS, "")
    assert definition.schedule is not None
    assert definition.schedule.due(parse_rfc3339(now)) == parse_rfc3339(due)
    Draft202012Validator(schema(FIELDS)).validate(definition.source)


@given(
    st.sampled_from(["day", "week", "month"]),
    st.integers(0, 1439),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001  # UTC is added
)
def test_a_schedule_never_goes_back(every: Any, minute: int, zone: str, when: datetime) -> None:
    schedule, now = Schedule(every, minute, zone), parse_rfc3339(f"{when.isoformat()}Z")
    due = schedule.due(now)
    assert due <= now < due + 32 * DAY
    assert schedule.due(due) == due
    assert schedule.due(now + 1) in {due, now + 1}


@pytest.mark.parametrize(
    "schedule",
    [
        {},
        {"every": "year"},
        {"every": "hour", "at": "06:00"},
        {"every": "day", "at": "24:00"},
        {"every": "day", "at": 6},
        "daily",
    ],
)
def test_wrong_schedules_are_refused(schedule: Any) -> None:
    definition = {"schedule": schedule, "where": {"event": "A"}}
    with pytest.raises(DefinitionError, match="schedule"):
        parse(definition, FIELDS, "")
    assert not Draft202012Validator(schema(FIELDS)).is_valid(definition)
