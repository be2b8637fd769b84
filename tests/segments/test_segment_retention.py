"""Retention counts by the local calendar as plain Python does, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from generated import TRUST, event_leaves, events, groups
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from oracle import World
from population import NOW
from rig import Rig, exact, happened, load, profiles, rig_of

from cdp.clock import DAY, SECOND, Micros
from cdp.errors import DefinitionError

HOUR = DAY // 24


@pytest.fixture
def rig(database_url: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(database_url, tmp_path / "warehouse")
    yield made
    made.close()


def at(text: str, zone: str = "UTC") -> Micros:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia"]
plain_events = event_leaves.map(lambda leaf: {k: leaf[k] for k in ("event", "type", "where") if k in leaf})
# around the days on which clocks change in 2011 and 2024, and those that Samoa left out
DAYS = [date(2011, 10, 15), date(2011, 12, 29), date(2024, 3, 30), date(2024, 9, 29), date(2024, 10, 2)]
instants = st.tuples(st.sampled_from(DAYS), st.integers(0, 3 * 24 * 4)).map(
    lambda pair: at(pair[0].isoformat()) + pair[1] * HOUR // 4
)
dated = st.tuples(events, instants).map(lambda pair: {**pair[0], "at": pair[1]})


def local_day(moment: Micros, zone: str) -> date:
    return datetime.fromtimestamp(moment / SECOND, ZoneInfo(zone)).date()


def begun(day: date, every: str) -> date:
    return {
        "day": day,
        "week": day - timedelta(days=day.weekday()),
        "month": day.replace(day=1),
    }[every]


def number(day: date, every: str) -> int:
    """Count the periods since long ago."""
    if every == "month":
        return day.year * 12 + day.month
    return begun(day, every).toordinal() // {"day": 1, "week": 7}[every]


def retained(world: World, body: Any) -> dict[int, list[int]]:
    """Number of the cohort's period → its size, and who came back in each period."""
    zone, every = body["timezone"], body["every"]
    since = number(date.fromisoformat(body["from"]), every)

    def fits(event: Any, leaf: Any) -> bool:
        return (
            event["at"] <= world.now
            and (event["name"], event["type"]) == (leaf["event"], leaf.get("type", "track"))
            and all(world.fits(event, condition) for condition in leaf.get("where", []))
        )

    found: dict[int, list[int]] = {}
    for person in set(world.profile_of.values()):
        mine = [event for event in world.events if world.profile_of[event["identity"]] == person]
        starts = [event["at"] for event in mine if fits(event, body["start"])]
        if not starts or number(local_day(min(starts), zone), every) < since:
            continue
        cohort = number(local_day(min(starts), zone), every)
        row = found.setdefault(cohort, [0] * (body["periods"] + 2))
        row[0] += 1
        later = [event["at"] for event in mine if fits(event, body["return"]) and event["at"] > min(starts)]
        for period in {number(local_day(moment, zone), every) for moment in later}:
            if period - cohort <= body["periods"]:
                row[1 + period - cohort] += 1
    return found


@settings(max_examples=20, phases=[Phase.explicit, Phase.generate])
@given(
    groups,
    st.lists(dated, min_size=4, max_size=24),
    st.lists(
        st.fixed_dictionaries(
            {
                "start": plain_events,
                "return": plain_events,
                "every": st.sampled_from(["day", "week", "month"]),
                "periods": st.sampled_from([1, 3, 52]),
                "timezone": st.sampled_from(ZONES),
            }
        ),
        min_size=6,
        max_size=6,
    ),
    st.sampled_from(DAYS),
)
def test_retention_counts_by_the_local_calendar(
    group_of: list[int], seen: list[Any], bodies: list[Any], first: date
) -> None:
    with TemporaryDirectory() as folder:
        rig = rig_of(folder)
        now = at("2024-10-05T12:00") if first.year == 2024 else at("2012-01-01T12:00")
        rig.people.clock.advance(now - rig.people.clock.now())
        world = World(profiles(group_of), seen, [], TRUST, set(), now)
        load(rig, world)
        rig.mirror.refresh()
        for body in bodies:
            asked = {**body, "from": first.isoformat()}
            world.zone = body["timezone"]
            explore = rig.segments.explore
            found = explore.retention(explore.read_retention(asked)).shown(exact)
            wanted = retained(world, asked)
            told = {}
            for cohort in found["cohorts"]:
                moment = at(cohort["from"].removesuffix("Z"))
                if cohort["size"]:
                    told[number(local_day(moment, body["timezone"]), body["every"])] = [
                        cohort["size"],
                        *(count or 0 for count in cohort["returned"]),
                    ]
            assert told == wanted, asked
        rig.close()


def test_periods_that_have_not_begun_are_unknown_and_the_first_start_alone_is_no_return(rig: Rig) -> None:
    zone = "Europe/Berlin"
    rig.people.clock.advance(at("2024-04-02T10:00", zone) - NOW)
    happened(
        rig,
        [("A", at("2024-03-30T23:59", zone)), ("A", at("2024-03-31T00:00", zone))],
        [("A", at("2024-03-31T00:00", zone)), ("A", at("2024-03-31T23:59", zone))],  # a day of 23 hours
        [("A", at("2024-03-31T12:00", zone)), ("A", at("2024-04-02T10:00", zone))],
        [("A", at("2024-03-29T12:00", zone)), ("A", at("2024-03-31T12:00", zone))],  # began before
        [("A", at("2024-03-31T12:00", zone)), ("A", at("2024-04-02T10:00", zone) + 1)],  # not yet
    )
    body = {"start": {"event": "A"}, "return": {"event": "A"}, "every": "day", "periods": 3}
    explore = rig.segments.explore
    found = explore.retention(
        explore.read_retention({**body, "timezone": zone, "from": "2024-03-30T15:00"})
    ).shown(exact)
    assert found["timezone"] == zone
    assert [tuple(cohort.values()) for cohort in found["cohorts"]] == [
        ("2024-03-29T23:00:00Z", 1, [0, 1, 0, 0], [0.0, 1.0, 0.0, 0.0]),
        ("2024-03-30T23:00:00Z", 3, [1, 0, 1, None], [0.3333, 0.0, 0.3333, None]),
        ("2024-03-31T22:00:00Z", 0, [0, 0, None, None], [None, None, None, None]),
        ("2024-04-01T22:00:00Z", 0, [0, None, None, None], [None, None, None, None]),
    ]
    rig.restrained = {3}
    again = explore.retention(explore.read_retention({**body, "timezone": zone})).shown(exact)
    assert [cohort["size"] for cohort in again["cohorts"]] == [1, 2, 0, 0]  # from three days back
    assert again["cohorts"][1]["returned"] == [1, 0, 0, None]


def test_the_last_of_all_periods_counts_and_none_after_it(rig: Rig) -> None:
    happened(
        rig,
        [("A", NOW - 52 * DAY), ("B", NOW - 21 * DAY), ("B", NOW)],
        [("A", NOW - 53 * DAY), ("B", NOW - 53 * DAY + 1), ("B", NOW)],
    )
    explore = rig.segments.explore
    asked = {**EVENTS, "periods": 52, "from": "today-53d"}
    (older, newer, *_) = explore.retention(explore.read_retention(asked)).shown(exact)["cohorts"]
    assert [after for after, count in enumerate(older["returned"]) if count] == [0]
    assert [after for after, count in enumerate(newer["returned"]) if count] == [31, 52]


EVENTS = {"start": {"event": "A"}, "return": {"event": "B"}, "every": "day", "periods": 2}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"every": "year"}, "^every: this is one of day, week, month"),
        ({"every": ["day"]}, "^every: this is one of"),
        ({"periods": 0}, "^periods: this is a number from 1 to 52"),
        ({"periods": 53}, "^periods: "),
        ({"periods": True}, "^periods: "),
        ({"start": {"event": "A", "count": {"gte": 2}}}, "^start: this is an event by its name"),
        ({"return": {"event": "A", "within": "1d"}}, "^return: this is an event by its name"),
        ({"return": {"trait": "country", "op": "exists"}}, "^return: this is an event"),
        ({"start": {"event": "A", "where": [{"property": "x"}]}}, r"^start\.where\[0\]\.property: "),
        ({"start": None}, "^start: a condition is a map"),
        ({"from": "yesterday"}, "^from: a time is"),
        ({"among": "s"}, "a retention table has no key among"),
    ],
)
def test_what_is_no_retention_table_is_refused_at_its_place(tmp_path: Path, body: Any, said: str) -> None:
    rig = rig_of(str(tmp_path))
    with pytest.raises(DefinitionError, match=said):
        rig.segments.explore.read_retention({**EVENTS, **body})
    rig.close()


@pytest.mark.parametrize(
    ("since", "said"),
    [
        ("today+1d", "later than now"),
        ("today-366d", "more than 366 cohorts"),
        ("0001-01-01T00:00:00Z", "more than 366"),
    ],
)
def test_cohorts_are_neither_none_nor_too_many(rig: Rig, since: str, said: str) -> None:
    happened(rig, [("A", NOW)])
    explore = rig.segments.explore
    with pytest.raises(DefinitionError, match=said):
        explore.retention(explore.read_retention({**EVENTS, "from": since}))
    found = explore.retention(explore.read_retention({**EVENTS, "from": "today-365d"})).shown(exact)
    assert [cohort["size"] for cohort in found["cohorts"]] == [0] * 365 + [1]
