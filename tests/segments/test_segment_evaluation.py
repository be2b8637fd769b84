"""DuckDB finds the same people as a slow evaluator in plain Python, for any population and definition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from generated import STARTS, TRUST, ZONES, definitions, events, groups, moved, nested, tags, traits
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from oracle import World
from population import NOW, index_of
from rig import Rig, load, profiles, rig_of

from cdp.audit import Entry
from cdp.clock import DAY, Micros


@settings(max_examples=40, phases=[Phase.explicit, Phase.generate])  # each builds a database: no shrinking
@given(
    groups,
    st.lists(events, max_size=14),
    st.lists(traits, max_size=8),
    st.lists(definitions, min_size=1, max_size=5),
    nested,
    tags,
    STARTS,
    ZONES,
)
def test_any_definition_finds_whom_the_plain_evaluator_finds(
    group_of: list[int],
    seen: list[dict[str, Any]],
    observed: list[dict[str, Any]],
    wheres: list[Any],
    other: Any,
    defined: dict[str, Any],
    now: Micros,
    zone: str,
) -> None:
    with TemporaryDirectory() as folder:
        rig = rig_of(folder)
        rig.people.clock.at = now
        seen, observed = moved(seen, now - NOW), moved(observed, now - NOW)
        world = World(profiles(group_of), seen, observed, TRUST, {"plan"}, now, zone)
        load(rig, world)
        rig.mirror.refresh()
        rig.segments.lists.put("system", "some", "white", [(index_of(2),), (index_of(5),)])
        world.lists["some"] = [2, 5]
        rig.define(world, defined)
        rig.segments.apply("system", {"name": "other", "timezone": zone, "where": other})
        world.segments["other"] = other
        for where in wheres:
            found = rig.segments.preview({"name": "mine", "timezone": zone, "where": where}).members
            assert set(found) == world.members(where, "mine"), where
        everybody = sorted(set(world.profile_of.values()))
        said = rig.values(everybody)
        for name in defined:
            told = {number: value for number in everybody if (value := world.tag(number, name)) is not None}
            assert {number: values[name] for number, values in said.items() if name in values} == told
        rig.close()


@pytest.fixture
def rig(database_url: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(database_url, tmp_path / "warehouse")
    yield made
    made.close()


def found(rig: Rig, where: Any) -> set[int]:
    rig.mirror.refresh()
    return set(rig.segments.preview({"where": where}).members)


def test_the_edges_of_windows(rig: Rig) -> None:
    with rig.people.committer.batch() as batch:
        for number, at in enumerate([NOW - DAY - 1, NOW - DAY, NOW, NOW + 1], 1):
            rig.people.event(batch, number, "A", at=at)
            rig.people.link(batch, [number])
    assert found(rig, {"event": "A", "within": "1d"}) == {2, 3}
    assert found(rig, {"event": "A", "from": "2024-10-03T00:00:00Z", "to": "2024-10-04T00:00:00Z"}) == {2}
    assert found(rig, {"event": "A", "from": "2024-10-04T00:00:00Z"}) == {3, 4}
    rig.people.clock.advance(1)  # the moment is not compiled in
    assert found(rig, {"event": "A", "within": "1d"}) == {3, 4}


def test_late_events_count_by_when_they_happened(rig: Rig) -> None:
    rig.people.people([1])
    assert found(rig, {"event": "A", "within": "5d"}) == set()
    with rig.people.committer.batch() as batch:
        rig.people.event(batch, 1, "A", at=NOW - 4 * DAY)
    assert found(rig, {"event": "A", "within": "5d"}) == {1}
    assert found(rig, {"event": "A", "within": "3d"}) == set()


def test_merges_and_splits_move_what_was_seen_before(rig: Rig) -> None:
    with rig.people.committer.batch() as batch:
        for number in (1, 2):
            rig.people.event(batch, number, "A", {"revenue": 60})
        rig.people.trait(batch, 1, "country", "X", at=NOW - 2)
        rig.people.trait(batch, 2, "country", "Y", at=NOW - 1)
        rig.people.link(batch, [1], [2])
    rich = {"event": "A", "sum": {"property": "revenue", "gte": 100}}
    in_y = {"trait": "country", "op": "eq", "value": "Y"}
    assert (found(rig, rich), found(rig, in_y), found(rig, {"sample": 1})) == (set(), {2}, {1, 2})
    rig.people.people([1, 2])
    assert (found(rig, rich), found(rig, in_y), found(rig, {"sample": 1})) == ({1}, {1}, {1})
    rig.people.people([1], [2])
    assert (found(rig, rich), found(rig, in_y), found(rig, {"sample": 1})) == (set(), {2}, {1, 2})


def test_a_few_purchases_includes_people_with_none(rig: Rig) -> None:
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1], [2], [3])
        rig.people.event(batch, 1, "A")
        rig.people.event(batch, 2, "A")
        rig.people.event(batch, 2, "A")
    assert found(rig, {"event": "A", "count": {"lt": 2}}) == {1, 3}
    assert found(rig, {"event": "A", "count": {"eq": 0}}) == {3}
    assert found(rig, {"event": "A", "count": {"between": [1, 2]}}) == {1, 2}
    assert found(rig, {"event": "A", "sum": {"property": "revenue", "lt": 2}}) == set()


def test_cents_add_up(rig: Rig) -> None:
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1])
        for _ in range(10):
            rig.people.event(batch, 1, "A", {"revenue": 0.1})
    assert found(rig, {"event": "A", "sum": {"property": "revenue", "eq": 1}}) == {1}


def test_a_sample_is_stable_and_about_as_large_as_asked(rig: Rig) -> None:
    rig.people.people(*([number] for number in range(1, 2001)))
    tenth = found(rig, {"sample": 0.1, "salt": "autumn"})
    assert 140 < len(tenth) < 260
    assert found(rig, {"sample": 0.1, "salt": "autumn"}) == tenth
    assert found(rig, {"sample": 0.2, "salt": "autumn"}) > tenth
    assert found(rig, {"sample": 0.1, "salt": "winter"}) != tenth


def test_restrained_people_are_in_no_count_even_when_they_merged_after_the_mirror(rig: Rig) -> None:
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1], [2], [3], [4, 5])
        for number in (1, 2, 3):
            rig.people.event(batch, number, "A")
    rig.mirror.refresh()
    rig.restrained = {2}
    preview = rig.segments.preview({"where": {"event": "A"}})
    assert (preview.count, set(preview.members)) == (2, {1, 3})
    assert set(rig.segments.preview({"where": {"not": {"event": "A"}}}).members) == {4}
    rig.people.people([2, 3])  # now 3 is the restrained person as well; the mirror does not know yet
    assert set(rig.segments.preview({"where": {"event": "A"}}).members) == {1}
    rig.restrained = {5}
    rig.people.people([4], [5])  # 5 was split off and is restrained; the mirror has only 4
    assert set(rig.segments.preview({"where": {"not": {"event": "A"}}}).members) == set()


def test_every_evaluation_is_on_record(rig: Rig) -> None:
    entries: list[Entry] = []

    def append(_connection: object, _commit_no: int, _now: int, given: Sequence[Entry]) -> list[int]:
        entries.extend(given)
        return [0] * len(given)

    rig.people.committer._append = append
    rig.people.people([1])
    rig.mirror.refresh()
    rig.segments.preview({"where": {"sample": 1}}, actor="key:7")
    rig.segments.apply("key:7", {"name": "all-of-them", "where": {"sample": 1}})
    rig.segments.evaluate("all-of-them")
    assert [(e.action, e.actor, e.people.get("members")) for e in entries] == [
        ("segment.preview", "key:7", 1),
        ("segment.apply", "key:7", None),
        ("segment.evaluate", "key:7", 1),
        ("segment.evaluate", "system", 1),
    ]
    assert {e.purpose for e in entries} == {"segmentation"}


def test_which_observation_holds(rig: Rig) -> None:
    low, high = b"\x01" * 16, b"\x02" * 16
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1, 2], [3], [4], [5])
        rig.people.trait(batch, 1, "country", "loses the tie", event_id=low)
        rig.people.trait(batch, 2, "country", "wins the tie", event_id=high)
        rig.people.trait(batch, 3, "plan", "trusted", source_id=2, at=NOW - DAY)
        rig.people.trait(batch, 3, "plan", "newer", source_id=1, at=NOW)
        rig.people.trait(batch, 4, "plan", "distrusted", source_id=3, at=NOW)
        rig.people.trait(batch, 4, "plan", "unknown source", source_id=4, at=0)
        rig.people.trait(batch, 5, "country", "readable", at=NOW - 1)
        rig.people.trait(batch, 5, "country", "sealed later", sealed=True)

    def by(trait: str, value: str) -> set[int]:
        return found(rig, {"trait": trait, "op": "eq", "value": value})

    assert (by("country", "wins the tie"), by("country", "loses the tie")) == ({1}, set())
    assert (by("plan", "trusted"), by("plan", "newer")) == ({3}, set())
    assert (by("plan", "unknown source"), by("plan", "distrusted")) == ({4}, set())
    assert by("country", "readable") == set()
    assert found(rig, {"trait": "country", "op": "ne", "value": "other"}) == {1}
    assert found(rig, {"trait": "country", "op": "exists"}) == {1}
    assert found(rig, {"trait": "country", "op": "exists", "value": False}) == {3, 4, 5}


def test_first_and_last(rig: Rig) -> None:
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1, 2], [3])
        rig.people.event(batch, 1, "A", at=NOW - 3)
        rig.people.event(batch, 2, "A", {"sku": "b"}, at=NOW - 2)
        rig.people.event(batch, 1, "A", {"sku": "c"}, at=NOW - 2)
        rig.people.event(batch, 1, "A", {"sku": "a"}, at=NOW - 1)
        rig.people.event(batch, 3, "A")

    def by(function: str, value: str) -> set[int]:
        return found(rig, {"event": "A", function: {"property": "sku", "eq": value}})

    assert [by("first", value) for value in "abc"] == [set(), {1}, set()]
    assert [by("last", value) for value in "abc"] == [{1}, set(), set()]
    assert found(rig, {"event": "A", "first": {"property": "sku", "ne": "x"}}) == {1}
