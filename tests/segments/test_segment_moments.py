"""Points of the calendar: on the clocks of a stated time zone, whatever those do, and through leap days."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from generated import FIELDS
from rig import Rig

from cdp.clock import parse_rfc3339, rfc3339
from cdp.errors import DefinitionError
from cdp.segments import parse
from cdp.segments.moments import moment

BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "now", "instant"),
    [
        ("today", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z"),
        ("today+1d", "2026-03-29T12:00:00Z", "2026-03-29T22:00:00Z"),  # a day of 23 hours
        ("today", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z"),
        ("today+1d", "2026-10-25T12:00:00Z", "2026-10-25T23:00:00Z"),  # a day of 25 hours
        ("today", "2026-03-28T23:30:00Z", "2026-03-28T23:00:00Z"),  # tomorrow there already
        ("today-1y", "2024-02-29T12:00:00Z", "2023-02-27T23:00:00Z"),  # 28 February
        ("today-4y", "2024-02-29T12:00:00Z", "2020-02-28T23:00:00Z"),  # 29 February
        ("today-1mo", "2026-03-31T12:00:00Z", "2026-02-27T23:00:00Z"),
        ("today-12w", "2026-03-31T12:00:00Z", "2026-01-05T23:00:00Z"),
        ("this_week", "2026-11-22T12:00:00Z", "2026-11-15T23:00:00Z"),  # a Sunday: Monday before
        ("this_month", "2026-11-22T12:00:00Z", "2026-10-31T23:00:00Z"),
        ("this_month-1mo", "2026-01-15T12:00:00Z", "2025-11-30T23:00:00Z"),
        ("this_quarter", "2026-11-22T12:00:00Z", "2026-09-30T22:00:00Z"),
        ("this_quarter-1q", "2026-01-22T12:00:00Z", "2025-09-30T22:00:00Z"),
        ("this_year", "2026-11-22T12:00:00Z", "2025-12-31T23:00:00Z"),
    ],
)
def test_a_point_of_the_calendar_is_reckoned_on_the_clocks_of_its_zone(
    text: str, now: str, instant: str
) -> None:
    found = moment(text, BERLIN)
    assert found is not None
    assert rfc3339(found.at(parse_rfc3339(now))) == instant


@pytest.fixture
def rig(database_url: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(database_url, tmp_path / "warehouse")
    yield made
    made.close()


def test_a_segment_follows_the_calendar_of_its_zone(rig: Rig) -> None:
    rig.people.clock.at = parse_rfc3339("2026-03-29T21:59:59Z")  # Sunday there, one second before midnight
    with rig.people.committer.batch() as batch:
        for number, at in enumerate(["2026-03-28T22:59:59", "2026-03-28T23:00:00", "2026-03-29T22:00:00"], 1):
            rig.people.link(batch, [number])
            rig.people.event(batch, number, "A", at=parse_rfc3339(at))
    rig.mirror.refresh()

    def found(**window: str) -> set[int]:
        definition = {"timezone": BERLIN, "where": {"event": "A", **window}}
        return set(rig.segments.preview(definition).members)

    assert found(**{"from": "today", "to": "today+1d"}) == {2}
    assert found(**{"from": "2026-03-29", "to": "2026-03-30"}) == {2}
    assert found(**{"from": "2026-03-29T00:00", "to": "2026-03-30T00:00:00.000001"}) == {2, 3}
    assert found(**{"from": "2026-03-28T23:00:00Z"}) == {2, 3}  # an offset of its own
    rig.people.clock.advance(1_000_000)  # midnight there
    assert found(**{"from": "today", "to": "today+1d"}) == {3}
    assert found(to="today") == {1, 2}


@pytest.mark.parametrize(
    "zone", ["Europe/Atlantis", "", "/etc/passwd", "../UTC", 5, None, ["UTC"], "a\0b", "x" * 999]
)
def test_what_is_no_time_zone_is_refused(zone: object) -> None:
    with pytest.raises(DefinitionError, match=r"timezone: timezone is a name of the IANA"):
        parse({"timezone": zone, "where": {"event": "A"}}, FIELDS, "")


@pytest.mark.parametrize(
    "text",
    [
        "today-3000y",
        "today+9999y",
        "tomorrow",
        "today-",
        "today-1",
        "today-1s",
        "2026-02-29",
        "2026-13-01",
        "now",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError, match=r"where\.from: a time is RFC 3339"):
        parse({"where": {"event": "A", "from": text}}, FIELDS, "")
