"""Windows on the days when clocks change and on leap days, to the microsecond, counted and followed.

Every instant is written out by hand, in UTC. Of each window four people did something: just before it, on its
first instant, on its last one, and just after it; it holds the two in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oracle import World
from rig import Rig, rig_of

from cdp.clock import DAY, SECOND, Micros, parse_rfc3339

BERLIN, NYC = "Europe/Berlin", "America/New_York"
HOUR = 3600 * SECOND
CASES = [  # zone; now; from; to; when that is: its first instant, and the first one after it
    # clocks are put forward: seven days have 167 hours
    (BERLIN, "2026-04-02T10:00", "today-7d", "today", "2026-03-25T23:00", "2026-04-01T22:00"),
    (NYC, "2026-03-10T12:00", "today-7d", "today", "2026-03-03T05:00", "2026-03-10T04:00"),
    (NYC, "2026-03-09T12:00", "this_week-1w", "this_week", "2026-03-02T05:00", "2026-03-09T04:00"),
    (BERLIN, "2026-04-15T10:00", "this_month-1mo", "this_month", "2026-02-28T23:00", "2026-03-31T22:00"),
    (NYC, "2026-04-30T12:00", "this_month-1mo", "this_month", "2026-03-01T05:00", "2026-04-01T04:00"),
    # clocks are put back: seven days have 169 hours
    (BERLIN, "2026-10-28T10:00", "today-7d", "today", "2026-10-20T22:00", "2026-10-27T23:00"),
    (NYC, "2026-11-03T12:00", "today-7d", "today", "2026-10-27T04:00", "2026-11-03T05:00"),
    (BERLIN, "2026-11-30T10:00", "this_month-1mo", "this_month", "2026-09-30T22:00", "2026-10-31T23:00"),
    (NYC, "2026-12-05T12:00", "this_month-1mo", "this_month", "2026-11-01T04:00", "2026-12-01T05:00"),
    # now is the hour itself: the last before it is skipped, the second of two that are called alike
    (BERLIN, "2026-03-29T00:59", "today", "today+1d", "2026-03-28T23:00", "2026-03-29T22:00"),
    (BERLIN, "2026-10-25T01:30", "today", "today+1d", "2026-10-24T22:00", "2026-10-25T23:00"),
    (NYC, "2026-03-08T07:00", "today", "today+1d", "2026-03-08T05:00", "2026-03-09T04:00"),
    (NYC, "2026-11-01T06:30", "today", "today+1d", "2026-11-01T04:00", "2026-11-02T05:00"),
    # a time that clocks skip is what it would have been; of two that are called alike the first counts
    (BERLIN, "2026-12-01T00:00", "2026-03-29T02:30", "2026-03-30", "2026-03-29T01:30", "2026-03-29T22:00"),
    (BERLIN, "2026-12-01T00:00", "2026-10-25T02:30", "2026-10-26", "2026-10-25T00:30", "2026-10-25T23:00"),
    (NYC, "2026-12-01T00:00", "2026-03-08T02:30", "2026-03-09", "2026-03-08T07:30", "2026-03-09T04:00"),
    (NYC, "2026-12-01T00:00", "2026-11-01T01:30", "2026-11-02", "2026-11-01T05:30", "2026-11-02T05:00"),
    # a leap day, from it, to it and past it
    ("UTC", "2024-02-29T12:00", "today-1y", "today", "2023-02-28T00:00", "2024-02-29T00:00"),
    ("UTC", "2024-02-29T12:00", "today-1mo", "today+1y", "2024-01-29T00:00", "2025-02-28T00:00"),
    ("UTC", "2024-03-29T12:00", "today-1mo", "today", "2024-02-29T00:00", "2024-03-29T00:00"),
    ("UTC", "2024-03-31T12:00", "today-1mo", "today", "2024-02-29T00:00", "2024-03-31T00:00"),
    ("UTC", "2025-03-29T12:00", "today-1mo", "today", "2025-02-28T00:00", "2025-03-29T00:00"),
    ("UTC", "2024-03-15T12:00", "this_month-1mo", "this_month", "2024-02-01T00:00", "2024-03-01T00:00"),
    ("UTC", "2024-05-30T12:00", "today-1q", "today", "2024-02-29T00:00", "2024-05-30T00:00"),
    (BERLIN, "2024-02-29T23:30", "today-1y", "today", "2023-02-28T23:00", "2024-02-29T23:00"),  # March
    (NYC, "2024-03-01T04:30", "today-1y", "today", "2023-02-28T05:00", "2024-02-29T05:00"),  # not yet
    # the turn of a year
    (NYC, "2025-01-01T03:00", "this_year-1y", "this_year", "2023-01-01T05:00", "2024-01-01T05:00"),
    (BERLIN, "2024-12-31T23:30", "this_year-1y", "this_year", "2023-12-31T23:00", "2024-12-31T23:00"),
]  # fmt: skip


def utc(text: str) -> Micros:
    return parse_rfc3339(f"{text}:00Z")


@pytest.fixture
def rig(database_url: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(database_url, tmp_path / "warehouse")
    yield made
    made.close()


def happen(rig: Rig, instants: dict[str, list[Micros]]) -> None:
    """Have person 1, 2, 3 … each do the event at their instant."""
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, *([number] for number in range(1, 1 + max(map(len, instants.values())))))
        for name, when in instants.items():
            for number, at in enumerate(when, 1):
                rig.people.event(batch, number, name, at=at)
    rig.mirror.refresh()


def test_from_is_included_and_to_is_not_whatever_the_clocks_do(rig: Rig) -> None:
    windows = {f"case {place}": (utc(one[4]), utc(one[5])) for place, one in enumerate(CASES)}
    happen(rig, {name: [start - 1, start, end - 1, end] for name, (start, end) in windows.items()})
    for name, (zone, now, start, end, *_) in zip(windows, CASES, strict=True):
        rig.people.clock.at = utc(now)
        where = {"event": name, "from": start, "to": end}
        found = rig.segments.preview({"timezone": zone, "where": where}).members
        assert set(found) == {2, 3}, (zone, now, start, end)


@pytest.mark.parametrize("now", ["2026-03-29T12:00", "2026-10-25T12:00", "2024-02-29T12:00"])
def test_a_day_back_from_now_is_24_hours_with_both_ends(rig: Rig, now: str) -> None:
    end = rig.people.clock.at = utc(now)
    happen(rig, {"A": [end - DAY - 1, end - DAY, end, end + 1], "B": [end - 7 * DAY - 1, end - 7 * DAY, end]})
    for zone in ("UTC", BERLIN, NYC):
        for leaf, expected in (
            ({"event": "A", "within": "1d"}, {2, 3}),
            ({"event": "A", "within": "24h"}, {2, 3}),
            ({"event": "A", "within": "1440m"}, {2, 3}),
            ({"event": "B", "within": "7d"}, {2, 3}),
            ({"event": "B", "within": "1w"}, {2, 3}),
        ):
            assert set(rig.segments.preview({"timezone": zone, "where": leaf}).members) == expected, leaf


@pytest.mark.parametrize(
    ("zone", "midnight", "hours"),
    [(BERLIN, "2026-03-28T23:00", 23), (NYC, "2026-11-01T04:00", 25), ("UTC", "2024-02-29T00:00", 24)],
)
def test_what_is_followed_changes_on_the_instant(
    tmp_path: Path, zone: str, midnight: str, hours: int
) -> None:
    """Through an odd day, against the plain evaluator; on SQLite, as time is no matter of the store."""
    begins = utc(midnight)
    ends = begins + hours * HOUR
    edges = [begins, begins + 2 * HOUR, begins + DAY, ends, ends + HOUR, ends + DAY]
    instants = [at + step for at in (begins - DAY, *edges) for step in (-1, 0, 1)]
    rig = rig_of(str(tmp_path))
    happen(rig, {"A": instants})
    seen = [
        {"identity": number, "name": "A", "type": "track", "at": at, "properties": {}}
        for number, at in enumerate(instants, 1)
    ]
    world = World({n: n for n in range(1, len(seen) + 1)}, seen, [], {}, set(), 0, zone)
    wheres: dict[str, Any] = {
        "today": {"event": "A", "from": "today", "to": "today+1d"},
        "week": {"event": "A", "from": "today-7d", "to": "today"},
        "day": {"event": "A", "within": "1d"},
        "left": {"sequence": [{"event": "A"}, {"not": {"event": "A"}, "within": "2h"}], "within": "1d"},
    }
    for name, where in wheres.items():
        rig.segments.apply("system", {"name": name, "timezone": zone, "where": where})
    found: dict[str, set[frozenset[int]]] = {name: set() for name in wheres}
    for edge in edges:
        for step in (-1, 0, 1):
            rig.people.clock.at = world.now = edge + step
            rig.slide()
            for name, where in wheres.items():
                expected = world.members(where)
                assert set(rig.stored(name)) == expected, (name, edge + step)
                found[name].add(frozenset(expected))
    assert min(map(len, found.values())) > 2
    rig.close()
