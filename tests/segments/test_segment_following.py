"""Segments that are followed are what asking everybody again would find, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from generated import STARTS, TRUST, ZONES, definitions, events, groups, moved, nested, tags, traits
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from oracle import World
from population import NOW, index_of
from prometheus_client import REGISTRY
from rig import Rig, load, profiles, rig_of

from cdp.clock import DAY, SECOND, Micros
from cdp.segments import lag, observe, queries
from cdp.store import read_head

steps = st.lists(
    st.fixed_dictionaries(
        {
            "events": st.lists(events, max_size=3),
            "traits": st.lists(traits, max_size=2),
            "groups": st.none() | groups,
            "later": st.sampled_from([0, 1, 5_000_000, 3600 * 10**6, DAY, DAY + 1]),
            "mirrored": st.booleans(),
            "listed": st.none() | st.lists(st.integers(1, 6), max_size=3),
            "restrained": st.none() | st.integers(1, 6),
            "erased": st.none() | st.none() | st.integers(1, 6),
        }
    ),
    min_size=2,
    max_size=5,
)


@settings(max_examples=40, phases=[Phase.explicit, Phase.generate])  # each builds a database: no shrinking
@given(
    groups,
    st.lists(events, max_size=10),
    st.lists(definitions, min_size=3, max_size=6),
    nested,
    tags,
    steps,
    STARTS,
    ZONES,
)
def test_whatever_happens_they_are_what_the_plain_evaluator_finds(
    group_of: list[int],
    seen: list[dict[str, Any]],
    wheres: list[Any],
    other: Any,
    defined: dict[str, Any],
    happenings: list[dict[str, Any]],
    now: Micros,
    zone: str,
) -> None:
    with TemporaryDirectory() as folder:
        rig = rig_of(folder)
        rig.people.clock.at = now
        world = World(profiles(group_of), moved(seen, now - NOW), [], TRUST, {"plan"}, now, zone)
        load(rig, world)
        rig.mirror.refresh()
        rig.segments.lists.put("system", "some", "white", [(index_of(2),), (index_of(5),)])
        world.lists["some"] = [2, 5]
        rig.define(world, defined)
        rig.segments.apply("system", {"name": "other", "timezone": zone, "where": other})
        world.segments["other"] = other
        for place, where in enumerate(wheres):
            rig.segments.apply("system", {"name": f"s{place}", "timezone": zone, "where": where})
        rig.follow()
        for step in happenings:
            rig.people.clock.advance(step["later"])
            world.now = rig.people.clock.now()
            seen, observed = moved(step["events"], now - NOW), moved(step["traits"], now - NOW)
            rig.happen(world, seen, observed, step["groups"])
            if step["listed"] is not None:
                rig.segments.lists.put("system", "some", "white", [(index_of(n),) for n in step["listed"]])
                world.lists["some"] = step["listed"]
            if step["restrained"] is not None:
                rig.restrained ^= {step["restrained"]}
                rig.touch()
            if step["erased"] is not None:
                rig.erase(world, step["erased"])
                rig.slide()  # before the mirror knows
            if step["mirrored"] or step["erased"] is not None:
                rig.mirror.refresh()
            rig.slide()
            left_out = {world.profile_of.get(number) for number in rig.restrained}
            for place, where in enumerate(wheres):
                expected = world.members(where, f"s{place}") - left_out
                assert set(rig.stored(f"s{place}")) == expected, (where, step)
        rig.close()


@pytest.fixture
def rig(database_url: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(database_url, tmp_path / "warehouse")
    yield made
    made.close()


def test_who_enters_and_who_exits_is_told_once(rig: Rig) -> None:
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1], [2], [3])
        rig.people.event(batch, 1, "A", at=NOW)
    rig.mirror.refresh()
    rig.segments.apply("system", {"name": "a", "where": {"event": "A", "within": "1d"}})
    rig.follow()
    assert rig.changes() == []  # who was in when it was made did not enter
    with rig.people.committer.batch() as batch:
        rig.people.event(batch, 2, "A", at=NOW)
    rig.follow()  # the mirror does not know yet
    (change,) = rig.changes()
    assert (change.name, set(change.entered), set(change.exited)) == ("a", {2}, set())
    rig.follow()
    assert len(rig.changes()) == 1
    rig.mirror.refresh()
    rig.people.clock.advance(DAY + 1)
    rig.follow()
    assert set(rig.changes()[-1].exited) == {1, 2}
    assert set(rig.stored("a")) == set()


def test_an_evaluation_over_older_files_takes_nothing_back(rig: Rig) -> None:
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1], [2])
        rig.people.event(batch, 1, "A", at=NOW)
    rig.mirror.refresh()
    rig.segments.apply("system", {"name": "a", "where": {"event": "A"}})
    rig.follow()
    with rig.people.committer.batch() as batch:
        rig.people.event(batch, 2, "A", at=NOW)
    rig.follow()
    assert set(rig.segments.evaluate("a").bitmap) == {1}  # what the files know
    assert set(rig.stored("a")) == {1, 2}


def test_a_segment_evaluated_by_hand_is_followed_from_then_on(rig: Rig) -> None:
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1], [2])
        rig.people.event(batch, 1, "A", at=NOW)
    rig.mirror.refresh()
    rig.segments.apply("system", {"name": "a", "where": {"event": "A"}})
    rig.follow()
    rig.segments.evaluate("a")
    with rig.people.committer.batch() as batch:
        rig.people.event(batch, 1, "B", at=NOW)
    rig.follow()
    with rig.people.store.reading() as connection:
        held, head = queries.members(connection, "a"), queries.following(connection)
    assert held is not None
    assert head is not None
    assert (held.followed, held.as_of) == (True, head.as_of)
    assert rig.changes() == []


def test_a_turn_that_began_before_takes_nothing_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1], [2])
        rig.people.event(batch, 1, "A", at=NOW)
    rig.mirror.refresh()
    rig.segments.apply("system", {"name": "a", "where": {"event": "A"}})
    rig.follow()
    with rig.people.store.reading() as connection:
        began = read_head(connection)
    with rig.people.committer.batch() as batch:
        rig.people.event(batch, 2, "A", at=NOW)
    rig.mirror.refresh()
    made = rig.segments.evaluate("a")
    with monkeypatch.context() as patched:
        patched.setattr("cdp.segments.follow.read_head", lambda _connection: began)
        rig.touch()
        rig.slide()
    with rig.people.store.reading() as connection:
        held = queries.members(connection, "a")
    assert held is not None
    assert (held.followed, held.as_of, set(held.bitmap)) == (False, made.as_of, {1, 2})
    rig.follow()
    assert rig.segments.members("a").as_of > made.as_of


def test_a_merge_or_a_split_is_no_coming_or_going(rig: Rig) -> None:
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1], [2], [3])
        for number in (1, 2):
            rig.people.event(batch, number, "A", at=NOW)
    rig.mirror.refresh()
    rig.segments.apply("system", {"name": "a", "where": {"event": "A"}})
    rig.follow()
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1, 2])
    rig.follow()
    assert set(rig.stored("a")) == {1}
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1], [2, 3])
    rig.follow()
    assert set(rig.stored("a")) == {1, 2}
    assert rig.changes() == []
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [2], [3])  # 3 was in as a part of 2
    rig.follow()
    assert [(set(c.entered), set(c.exited)) for c in rig.changes()] == [(set(), {3})]


def test_whoever_was_erased_is_in_no_segment_once_the_mirror_is_without_them(rig: Rig) -> None:
    """Also where a turn came between: the store had forgotten them, the files not yet."""
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1], [2], [3])
        for number in (1, 2, 3):
            rig.people.event(batch, number, "A", at=NOW)
    rig.mirror.refresh()
    rig.segments.apply("system", {"name": "a", "where": {"event": "A"}})
    rig.segments.apply("system", {"name": "not-b", "where": {"not": {"event": "B"}}})
    rig.follow()
    rig.people.erase(2)
    assert rig.segments.follow.turn() == 0  # nothing is as of a commit after which files still have them
    rig.mirror.refresh()
    rig.follow()
    assert set(rig.stored("a")) == set(rig.stored("not-b")) == {1, 3}
    rig.people.erase(3)
    rig.mirror.refresh()  # before any turn
    rig.follow()
    assert set(rig.stored("a")) == set(rig.stored("not-b")) == {1}


def test_another_process_that_follows_is_not_disturbed(rig: Rig) -> None:
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1])
        rig.people.event(batch, 1, "A", at=NOW)
    rig.mirror.refresh()
    rig.segments.apply("system", {"name": "a", "where": {"event": "A"}})
    first, second = rig.process().follow, rig.process().follow
    first.turn()
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [2])
        rig.people.event(batch, 2, "A", at=NOW)
    assert second.turn() == 0
    assert set(rig.stored("a")) == {1}
    rig.people.clock.advance(10_000_000)  # the first one is gone
    assert second.turn() > 0
    assert set(rig.stored("a")) == {1, 2}
    assert [set(c.entered) for c in rig.changes()] == [{2}]


def test_a_new_version_is_a_new_beginning_and_a_deleted_segment_stays_deleted(rig: Rig) -> None:
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1], [2])
        rig.people.event(batch, 1, "A", at=NOW)
        rig.people.event(batch, 2, "B", at=NOW)
    rig.mirror.refresh()
    rig.segments.apply("system", {"name": "a", "where": {"event": "A"}})
    rig.follow()
    rig.segments.apply("system", {"name": "a", "where": {"event": "B"}})
    rig.follow()
    assert set(rig.stored("a")) == {2}
    assert rig.changes() == []
    rig.segments.delete("system", "a")
    rig.touch()
    rig.follow()
    assert rig.segments.list() == ()
    with rig.people.store.reading() as connection:
        assert queries.members(connection, "a") is None


def test_an_event_that_is_later_than_now_counts_when_its_time_has_come(rig: Rig) -> None:
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1], [2], [3])
        rig.people.event(batch, 1, "A", at=NOW + 20 * SECOND)
    rig.mirror.refresh()
    rig.segments.apply("system", {"name": "a", "where": {"event": "A", "within": "1d"}})
    rig.follow()
    with rig.people.committer.batch() as batch:  # the mirror does not know of it
        rig.people.event(batch, 2, "A", at=NOW + 28 * SECOND)
        rig.people.event(batch, 2, "A", at=NOW + 2 * DAY)
    rig.follow()
    assert set(rig.stored("a")) == set()
    rig.people.clock.advance(25 * SECOND)
    steps = [{"event": "A"}, {"event": "A"}]
    rig.segments.apply("system", {"name": "b", "where": {"sequence": steps}})  # asked before windows slide
    rig.follow()
    rig.mirror.refresh()
    rig.people.clock.advance(20 * SECOND)
    rig.follow()
    assert set(rig.stored("a")) == {1, 2}
    assert set(rig.stored("b")) == set()
    rig.people.clock.advance(2 * DAY)
    rig.follow()
    assert set(rig.stored("a")) == {2}
    assert set(rig.stored("b")) == {2}


@pytest.mark.parametrize(
    ("window", "first"),
    [({"within": "2d"}, NOW - 2 * DAY), ({"from": "today-3d"}, NOW - 3 * DAY), ({}, NOW - 900 * DAY)],
)
def test_facts_at_the_far_end_of_a_window_count_for_whoever_does_something_now(
    rig: Rig, window: dict[str, str], first: int
) -> None:
    twice = {"count": {"gte": 2}, **window}
    steps = {
        "sequence": [{"event": "A"}, {"event": "A"}],
        **{k: v for k, v in window.items() if k == "within"},
    }
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1], [2])
        rig.people.event(batch, 1, "A", at=first)
    rig.mirror.refresh()
    rig.segments.apply("system", {"name": "a", "where": {"event": "A", **twice}})
    rig.segments.apply("system", {"name": "b", "where": {"event": "A", "within": "1d"}})
    if "from" not in window:
        rig.segments.apply("system", {"name": "c", "where": steps})
    rig.follow()
    with rig.people.committer.batch() as batch:
        rig.people.event(batch, 1, "A", at=NOW)
    rig.follow()
    assert {segment.name: set(rig.stored(segment.name)) for segment in rig.segments.list()} == {
        segment.name: {1} for segment in rig.segments.list()
    }


def test_how_far_it_is_behind_is_told(rig: Rig) -> None:
    def told() -> tuple[float, int]:
        observe(rig.people.store, rig.people.clock)
        behind = lag(rig.people.store, rig.people.clock)
        assert REGISTRY.get_sample_value("cdp_segments_lag_seconds") == behind.seconds
        assert REGISTRY.get_sample_value("cdp_segments_lag_commits") == behind.commits
        return behind.seconds, behind.commits

    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1], [2], [3])
    rig.mirror.refresh()
    rig.people.clock.advance(3 * SECOND)
    assert told() == (0, 0)  # there is no segment
    rig.segments.apply("system", {"name": "a", "where": {"event": "A"}})
    assert told() == (3, 1)
    rig.follow()
    rig.touch()
    rig.people.clock.advance(SECOND)
    assert told() == (0, 0)  # a commit without facts is none to follow
    with rig.people.committer.batch() as batch:
        rig.people.event(batch, 1, "A", at=NOW)
    rig.people.clock.advance(SECOND)
    with rig.people.committer.batch() as batch:
        rig.people.trait(batch, 1, "age", 40)
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1, 2])
    rig.people.clock.advance(SECOND // 2)
    assert told() == (1.5, 3)
    rig.follow()
    assert told() == (0, 0)
    rig.people.clock.advance(SECOND)
    assert told() == (0, 0)
    with rig.people.committer.batch() as batch:
        rig.people.event(batch, 1, "A", at=NOW)
    rig.segments.delete("system", "a")
    assert told() == (0, 0)
