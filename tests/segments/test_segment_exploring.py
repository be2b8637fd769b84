"""Histories, overlaps and funnels say what counting in plain Python says, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from generated import NAMES, definitions, sequences, tags
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from oracle import World
from population import NOW
from rig import Rig, exact, happened, load, rig_of, worlds

from cdp.clock import DAY, SECOND
from cdp.errors import DefinitionError, InvalidInputError, NotFoundError

HOUR = DAY // 24
WORLDS = settings(max_examples=12, phases=[Phase.explicit, Phase.generate])  # each builds a database
EVENTS = {"start": {"event": "A"}, "return": {"event": "B"}, "every": "day", "periods": 2}


@pytest.fixture
def rig(database_url: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(database_url, tmp_path / "warehouse")
    yield made
    made.close()


def test_every_version_says_what_it_changed_also_of_a_deleted_segment(rig: Rig) -> None:
    segments = rig.segments
    happened(rig, [])
    a, b, c = ({"event": name} for name in "ABC")
    bought: dict[str, Any] = {"event": "D", "count": {"gte": 2}}
    wheres = [
        {"all": [a, bought]},
        {"all": [a, {**bought, "count": {"gte": 3}}]},
        {"all": [b, a, {**bought, "count": {"gte": 3}, "within": "1d"}]},
        {"any": [b, c]},
    ]
    for number, where in enumerate(wheres):
        segments.apply(f"key:{number}", {"name": "s", "where": where})
        rig.people.clock.advance(SECOND)
    segments.delete("key:9", "s")
    segments.apply("key:8", {"name": "s", "where": a})
    found = segments.explore.history("s")
    assert [one.version for one in found] == [6, 5, 4, 3, 2, 1]
    assert [one.created_by for one in found][:3] == ["key:8", "key:9", "key:3"]
    assert [one.created_at for one in found][-2:] == [NOW + SECOND, NOW]
    assert [one.deleted for one in found] == [False, True, False, False, False, False]
    said = [[(c.place, c.kind, c.before, c.after) for c in one.changes] for one in reversed(found)]
    assert said == [
        [],
        [("where.all[1].count.gte", "changed", 2, 3)],
        [("where.all[0]", "added", None, b), ("where.all[2].within", "added", None, "1d")],
        [
            ("where.all", "removed", [b, a, {**bought, "count": {"gte": 3}, "within": "1d"}], None),
            ("where.any", "added", None, [b, c]),
        ],
        [("", "removed", {"name": "s", "where": wheres[3]}, None)],
        [("", "added", None, {"name": "s", "where": a})],
    ]
    with pytest.raises(NotFoundError):
        segments.explore.history("t")


@WORLDS
@given(worlds, st.lists(definitions, min_size=3, max_size=3), tags, st.integers(1, 6))
def test_an_overlap_is_that_of_the_sets(
    world: World, wheres: list[Any], defined: dict[str, Any], restrained: int
) -> None:
    with TemporaryDirectory() as folder:
        rig = rig_of(folder)
        load(rig, world)
        rig.mirror.refresh()
        rig.restrained = {restrained}
        gone = {world.profile_of[restrained]}
        world.segments["other"] = {"event": NAMES[0]}
        rig.segments.lists.put("system", "some", "white", [])
        world.lists["some"] = []
        rig.define(world, defined)
        rig.segments.apply("system", {"name": "other", "where": world.segments["other"]})
        for place, where in enumerate(wheres):
            rig.segments.apply("system", {"name": f"s{place}", "where": where})
        found = rig.segments.explore.overlap(["s2", "s0", "s1"]).shown(exact)
        sets = [world.members(where, f"s{place}") - gone for place, where in enumerate(wheres)]
        assert found["segments"] == [
            {"name": f"s{place}", "version": 1, "count": len(sets[place])} for place in (2, 0, 1)
        ]
        for pair, (one, other) in zip(found["pairs"], [(0, 1), (0, 2), (1, 2)], strict=True):
            shared = len(sets[one] & sets[other])
            assert (pair["segments"], pair["count"]) == ([f"s{one}", f"s{other}"], shared)
            sizes = [len(sets[one]), len(sets[other])]
            assert pair["shares"] == [round(shared / size, 4) if size else None for size in sizes]
        rig.close()


def test_an_overlap_is_of_two_to_twenty_different_segments_that_exist(rig: Rig) -> None:
    happened(rig, [("A", NOW)])
    rig.segments.apply("system", {"name": "a", "where": {"event": "A"}})
    for names in (["a"], ["a", "a"], [f"s{n}" for n in range(21)]):
        with pytest.raises(InvalidInputError, match="2 to 20 different"):
            rig.segments.explore.overlap(names)
    with pytest.raises(NotFoundError):
        rig.segments.explore.overlap(["a", "b"])


@WORLDS
@given(worlds, st.lists(sequences, min_size=3, max_size=3), st.booleans())
def test_a_funnel_counts_whom_the_sequence_up_to_each_step_finds(
    world: World,
    leaves: list[Any],
    among: bool,  # noqa: FBT001  # Hypothesis gives it by its name
) -> None:
    with TemporaryDirectory() as folder:
        rig = rig_of(folder)
        load(rig, world)
        rig.mirror.refresh()
        rig.segments.apply("system", {"name": "first", "where": {"event": NAMES[0]}})
        inside = world.members({"event": NAMES[0]}) if among else set(world.profile_of.values())
        for leaf in leaves:
            body = {**leaf, "among": "first"} if among else leaf
            explore = rig.segments.explore
            found = explore.funnel(explore.read_funnel(body)).shown(exact)
            told = []
            for place, step in enumerate(leaf["sequence"]):
                part = {**leaf, "sequence": leaf["sequence"][: place + 1]}
                told.append(None if "not" in step else len(world.members(part) & inside))
            assert [step["count"] for step in found["steps"]] == told
            assert [step["step"] for step in found["steps"]] == leaf["sequence"]
            assert found["completed"]["count"] == len(world.members(leaf) & inside)
        rig.close()


def test_a_funnel_says_which_share_of_the_first_and_of_the_step_before_got_on(rig: Rig) -> None:
    a, b, c, d = (("ABCD"[n], NOW - (9 - n) * HOUR) for n in range(4))
    happened(rig, [a, b, c, d], [a, b, c], [a, b], [a, ("X", NOW - 8 * HOUR - 1), b], [a], [d])
    steps: list[Any] = [{"event": "A"}, {"not": {"event": "X"}}, {"event": "B"}, {"event": "C"}]
    absent = {"not": {"event": "D"}, "within": "2h"}
    explore = rig.segments.explore
    question = {"sequence": [*steps, absent], "within": "1d"}
    found = explore.funnel(explore.read_funnel(question)).shown(exact)
    assert [tuple(step.values())[1:] for step in found["steps"]] == [
        (5, 1.0, None),
        (None, None, None),
        (3, 0.6, 0.6),
        (2, 0.4, 0.6667),
        (None, None, None),
    ]
    assert found["completed"] == {"count": 1, "share": 0.2}
    rig.restrained = {2}
    rig.touch()
    rig.mirror.refresh()
    found = explore.funnel(explore.read_funnel(question)).shown(exact)
    assert [step["count"] for step in found["steps"]] == [4, None, 2, 1, None]
    assert found["completed"]["count"] == 0


def test_a_funnel_reads_the_events_twice_however_many_steps_it_has(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened(rig, [("A", NOW)])
    ran: list[str] = []
    kept = rig.warehouse.snapshot().__class__.run

    def run(self: Any, sql: str, *more: Any) -> Any:
        ran.append(sql)
        return kept(self, sql, *more)

    explore = rig.segments.explore
    question = explore.read_funnel({"sequence": [{"event": name} for name in "ABCD"]})
    explore.funnel(question)
    monkeypatch.setattr(rig.warehouse.snapshot().__class__, "run", run)
    explore.funnel(question)
    assert " ".join(ran).count("events") == 2, ran  # whoever did the first step, and all the rest


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, r"^sequence: a sequence has 1 to 20 steps"),
        ({"sequence": [{"event": 1}]}, r"^sequence\[0\]\.event: this is text"),
        ({"sequence": [{"not": {"event": "A"}}]}, r"^sequence\[0\]: the first step"),
        ({"sequence": [{"event": "A"}], "among": "No Name"}, "^among: a name has"),
        ({"sequence": [{"event": "A"}], "timezone": "Mars"}, "^timezone: timezone is a name"),
        ({"sequence": [{"event": "A"}], "where": {}}, "a funnel has no key where"),
        ({"sequence": "A"}, "^sequence: this is a list"),
    ],
)
def test_what_is_no_funnel_is_refused_at_its_place(tmp_path: Path, body: Any, said: str) -> None:
    rig = rig_of(str(tmp_path))
    with pytest.raises(DefinitionError, match=said):
        rig.segments.explore.read_funnel(body)
    rig.close()


def test_what_is_found_is_on_record_before_it_is_shown(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    happened(rig, [("A", NOW)])
    rig.segments.apply("system", {"name": "a", "where": {"event": "A"}})
    rig.segments.apply("system", {"name": "b", "where": {"event": "B"}})
    recorded: list[str] = []

    class Full(Exception):  # noqa: N818  # the name of what happens
        pass

    def batch(*_given: Any, **_named: Any) -> Any:
        recorded.append("asked")
        raise Full

    explore = rig.segments.explore
    monkeypatch.setattr(rig.people.committer, "batch", batch)
    funnel, retention = {"sequence": [{"event": "A"}]}, EVENTS
    for ask in (
        lambda: explore.overlap(["a", "b"]),
        lambda: explore.funnel(explore.read_funnel(funnel)),
        lambda: explore.retention(explore.read_retention(retention)),
        lambda: explore.portrait("a"),
    ):
        with pytest.raises(Full):
            ask()
    assert len(recorded) == 4
    assert explore.history("a")  # of definitions, so no use of anybody's data
