"""Portraits agree with segments on their values, on both databases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from generated import NAMES
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from oracle import World
from rig import Rig, exact, load, rig_of, worlds

from cdp.errors import InvalidInputError, NotFoundError
from cdp.segments import Table

WORLDS = settings(max_examples=12, phases=[Phase.explicit, Phase.generate])  # each builds a database


@pytest.fixture
def rig(database_url: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(database_url, tmp_path / "warehouse")
    yield made
    made.close()


def found_by(world: World, where: Any, gone: set[int]) -> set[int]:
    return world.members(where) - gone


@WORLDS
@given(worlds, st.integers(1, 6))
def test_a_portrait_agrees_with_segments_on_its_values(world: World, restrained: int) -> None:
    with TemporaryDirectory() as folder:
        rig = rig_of(folder)
        load(rig, world)
        rig.mirror.refresh()
        rig.restrained = {restrained}
        gone = {world.profile_of[restrained]}
        rig.segments.apply("system", {"name": "s", "where": {"event": NAMES[0]}})
        inside = found_by(world, {"event": NAMES[0]}, gone)
        everyone = set(world.profile_of.values()) - gone
        found = rig.segments.explore.portrait("s").shown(exact, exact=True)
        assert (found["count"], found["everyone"]) == (len(inside), len(everyone))
        assert [one["name"] for one in found["attributes"]] == ["age", "country", "plan"]
        for one in found["attributes"]:
            name = one["name"]
            shown: set[int] = set()
            for value in one["values"]:
                if "value" in value:
                    fit = found_by(world, {"trait": name, "op": "eq", "value": value["value"]}, gone)
                else:
                    fit = set(everyone)
                    for key, op in (("from", "gte"), ("to", "lt")):
                        if key in value:
                            fit &= found_by(world, {"trait": name, "op": op, "value": value[key]}, gone)
                assert (value["count"], value["everyone"]) == (len(fit & inside), len(fit))
                assert value["everyone"]
                assert not fit & shown  # nobody twice
                shown |= fit
            known = found_by(world, {"trait": name, "op": "exists"}, gone)
            rest = (one["other"]["count"], one["other"]["everyone"])
            assert rest == (len((known - shown) & inside), len(known - shown))
            assert one["none"]["everyone"] == len(everyone - known)
            if name == "age":
                assert rest == (0, 0)
        rig.close()


def test_a_portrait_shows_the_most_common_values_and_how_they_stand_against_everyone(rig: Rig) -> None:
    with rig.people.committer.batch() as batch:
        for place in range(40):
            rig.people.link(batch, [place + 1])
            rig.people.trait(batch, place + 1, "country", f"c{min(place // 3, 12)}")
            rig.people.trait(batch, place + 1, "age", place)
        for number in (1, 2, 4):
            rig.people.event(batch, number, "A")
        rig.people.link(batch, [41])
    rig.mirror.refresh()
    rig.segments.apply("system", {"name": "s", "where": {"event": "A"}})
    found = rig.segments.explore.portrait("s", ["country"]).shown(exact, exact=True)
    (country,) = found["attributes"]
    assert len(country["values"]) == 10
    assert country["values"][0]["value"] == "c12"
    assert country["values"][1] == {
        "value": "c0",
        "count": 2,
        "everyone": 3,
        "share": 0.6667,
        "share_of_everyone": 0.0732,
        "index": 9.11,
    }
    assert [one["count"] for one in country["values"]] == [0, 2, 1, *[0] * 7]
    assert (country["other"]["everyone"], country["none"]["everyone"]) == (9, 1)
    (age,) = rig.segments.explore.portrait("s", ["age"]).shown(exact, exact=True)["attributes"]
    spans = [(one.get("from"), one.get("to"), one["everyone"]) for one in age["values"]]
    assert spans == [(None, 7.8, 8), (7.8, 16, 8), (16, 23, 7), (23, 31, 8), (31, None, 9)]
    with pytest.raises(InvalidInputError, match="did you mean country"):
        rig.segments.explore.portrait("s", ["countri"])
    with pytest.raises(NotFoundError):
        rig.segments.explore.portrait("t")


def test_with_noise_the_values_are_those_that_enough_seem_to_have_and_some_do(rig: Rig) -> None:
    """What decides is what is shown of everyone: the exact number only where it is below ten."""
    sizes = {"a": 12, "b": 12, "c": 9}
    with rig.people.committer.batch() as batch:
        people = iter(range(1, 100))
        for value, size in sizes.items():
            for number in (next(people) for _ in range(size)):
                rig.people.link(batch, [number])
                rig.people.trait(batch, number, "country", value)
    rig.mirror.refresh()
    rig.segments.apply("system", {"name": "s", "where": {"trait": "country", "op": "ne", "value": "c"}})
    asked: list[Table] = []

    def noised(tables: Sequence[Table]) -> list[list[int]]:
        """Show 100 of whoever has a or c, 90 of whoever has b."""
        asked.extend(tables)
        return [[90 if "value='b'" in cell.question else 100 for cell in table] for table in tables]

    (country,) = rig.segments.explore.portrait("s", ["country"]).shown(noised, exact=False)["attributes"]
    assert [one["value"] for one in country["values"]] == ["a"]
    people_of_other = [len(cell.members) for table in asked[3:] for cell in table]
    assert people_of_other == [21, 12, 12, 0]  # of everyone; of the segment a, the others, and who has none
    assert [len(table) for table in asked] == [1, 1, 4, 1, 3]
