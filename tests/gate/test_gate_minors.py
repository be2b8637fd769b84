"""Known minors: whoever told it, whenever, in whatever form, of whichever identity."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import msgspec
import pytest
from gate_world import START, World, running, years
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap
from sqlalchemy import update

from cdp.clock import DAY
from cdp.gate import facts
from cdp.gate.ages import AgeKind, born_by, of_age
from cdp.gate.told import Telling
from cdp.profiles.tables import trait_observations

world_fixture = pytest.fixture(running, name="world")
TODAY = date(2026, 1, 1)
FORMS = ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%Y-%m-%dT10:00:00Z", "%Y年%m月%d日", "%d.%m.%Y", "%m/%d/%Y")


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("birth", "2010-5-3", date(2010, 5, 3)),
        ("birth", 20100503, date(2010, 5, 3)),
        ("birth", "05/04/2010", date(2010, 5, 4)),  # the later of two readings
        ("birth", "2010-02", date(2010, 2, 28)),
        ("birth", 2010, date(2010, 12, 31)),
        ("birth", "2010", date(2010, 12, 31)),
        ("birth", 1_272_844_800, date(2010, 5, 3)),
        ("birth", 1_272_844_800_000, date(2010, 5, 3)),
        ("birth", "31052012", date(2012, 5, 31)),
        ("birth", 15082011, date(2011, 8, 15)),
        ("birth", "05082011", date(2011, 8, 5)),  # the later of two readings
        ("birth", "12312011", date(2011, 12, 31)),
        ("birth", "10102010", date(2010, 10, 10)),
        ("birth", "20123105", date.max),
        ("birth", 99_999_999, date.max),  # eight digits are never a moment of 1973
        ("birth", -15082011, date.max),
        ("birth", "201205031000", date(2012, 5, 3)),  # nor is this 1976
        ("birth", 990_000_000_000, date(2001, 5, 16)),
        ("birth", "0012-05-03", date.max),
        ("birth", "03.05.0012", date.max),
        ("birth", "1799-12-31", date.max),
        ("birth", "9999-12", date.max),
        ("birth", "0000-00", date.max),
        ("birth", "--5", date.max),
        ("birth", 10**400, date.max),
        ("birth", float("inf"), date.max),
        ("birth", float("nan"), date.max),
        ("birth", "2010-02-30", date.max),
        ("birth", 15, date.max),  # an age in the wrong place
        ("birth", 0, date.max),
        ("birth", "13 or so", date.max),
        ("birth", True, date.max),
        ("birth", ["2010-05-03"], date.max),
        ("birth", "--05-03", None),
        ("birth", "05/03", None),
        ("birth", "  ", None),
        ("birth", None, None),
        ("age", 15, date(2011, 1, 1)),
        ("age", "17.5", date(2009, 1, 1)),
        ("age", "16-24", date(2010, 1, 1)),
        ("age", "under 18", TODAY),
        ("age", "65+", date(1961, 1, 1)),
        ("age", "unter 18", date.max),
        ("age", 2010, date.max),
        ("age", -1, date.max),
        ("age", 10**400, date.max),
        ("age", "", None),
    ],
)
def test_what_is_told_is_read_as_the_latest_day_of_birth(
    kind: AgeKind, value: object, expected: date | None
) -> None:
    assert born_by(kind, value, START) == expected


@given(st.dates(min_value=date(1900, 1, 1), max_value=date(2030, 1, 1)), st.sampled_from(FORMS))
def test_no_form_makes_a_date_of_birth_earlier(born: date, form: str) -> None:
    found = born_by("birth", born.strftime(form), START)
    assert found is not None
    assert born <= found <= (born if form[1] == "Y" else date(born.year, 12, 31))


@given(
    st.sampled_from(["birth", "age"]),
    st.one_of(
        st.text(),
        st.text("0123456789-/. ", max_size=14),
        st.builds("{:04}{}{:02}".format, st.integers(0, 9999), st.sampled_from("-/."), st.integers(0, 13)),
        st.integers(),
        st.integers(min_value=10**308),
        st.integers(max_value=-(10**308)),
        st.floats(),
        st.booleans(),
        st.lists(st.integers()),
    ),
    st.sampled_from([0, START, -(2**62), 2**62]),
)
def test_anything_can_be_told(kind: AgeKind, value: object, told_at: int) -> None:
    latest = born_by(kind, value, told_at)
    assert latest is None or latest > date.min


def test_who_was_born_on_a_leap_day_comes_of_age_no_earlier() -> None:
    assert date(2008, 2, 29) > of_age(START + years(0))
    assert of_age(int((date(2026, 3, 1) - date(1970, 1, 1)) / timedelta(days=1)) * DAY) < date(2008, 3, 2)


def _released(world: World) -> bool:
    found: int = world.gate.authorise(world.request(fields=("email",)), dry_run=True).counts.released
    return found == 1


@pytest.mark.parametrize(
    "told",
    [{"birthday": "2010-05-03"}, {"birthday": "2010-5-3"}, {"age": 15}, {"age": "15"},
     {"age_band": "under 18"}, {"birthday": "third of May"}, {"age": "young"}, {"birthday": 20100503},
     {"birthday": "31052012"}, {"birthday": "--5"}, {"birthday": "9999-12"}, {"birthday": 10**400}],
)  # fmt: skip
def test_one_word_makes_a_minor_and_no_other_takes_it_back(world: World, told: dict[str, Any]) -> None:
    ada = world.person("Ada", {"birthday": "1980-02-01", "age": 45})
    assert _released(world)
    world.observe(ada + 1, told)  # of another identity of the profile, as a merge may bring one
    world.observe(ada, {"birthday": "1980-02-01", "age": 45})
    given = world.gate.authorise(world.request(fields=("email",)), dry_run=True)
    assert given.counts.withheld == {"forbidden": 1}


@pytest.mark.parametrize("told", [{"birthday": ""}, {"birthday": "05-03"}, {"age": " "}, {"age": "18-24"}])
def test_what_says_nothing_of_the_age_makes_nobody_a_minor(world: World, told: dict[str, Any]) -> None:
    world.person("Ada", told)
    assert _released(world)


def test_an_age_told_once_ends_when_the_person_is_surely_of_age(world: World) -> None:
    world.person("Ada", {"age": 17})
    world.clock.advance(years(0.9))
    assert not _released(world)
    world.clock.advance(years(0.2))
    assert _released(world)


def test_a_band_made_from_a_date_of_birth_lasts_no_longer_than_that(world: World) -> None:
    world.person("Ada", {"birthday": "2008-06-01", "age_band": "under 18"})
    assert not _released(world)
    world.clock.advance(years(0.5))
    assert _released(world)


def test_the_fields_that_tell_are_found_by_their_category(world: World) -> None:
    rule = msgspec.structs.replace(world.bundle.fields.traits["age"], name="years")
    traits = {**world.bundle.fields.traits, "years": rule}
    world.change(fields=msgspec.structs.replace(world.bundle.fields, traits=traits))
    world.person("Ada", {"years": 12})
    assert not _released(world)


def test_a_clock_that_ran_ahead_leaves_minors_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_MANY", -1)
    ada = world.person("Ada", {"birthday": "2010-05-03"})
    population = world.gate._judge.facts.population
    with world.store.reading() as connection:
        for ahead, expected in ((years(20), BitMap()), (0, BitMap([ada])), (years(20), BitMap())):
            now = START + ahead
            known = population.at(connection, "analytics", Telling.of(world.bundle), now)
            assert known is not None
            assert known.minors(now) == expected


def test_no_clock_of_a_sender_ages_anybody(world: World) -> None:
    world.person("Ada", {"age": 15})
    with world.store.writing() as connection, connection.begin():
        connection.execute(update(trait_observations).values(observed_at=0))
    assert not _released(world)


def test_a_band_beside_a_date_that_says_nothing_is_heard(world: World) -> None:
    world.person("Ada", {"birthday": "05-03", "age_band": "under 18"})
    assert not _released(world)
