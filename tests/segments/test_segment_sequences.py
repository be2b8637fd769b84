"""Sequences: steps in order, each in its window, and steps that must not happen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from generated import TRUST, sequences
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from oracle import World
from population import NOW
from rig import Rig, load, rig_of

from cdp.clock import DAY
from cdp.errors import DefinitionError

HOUR = DAY // 24
moments = st.sampled_from(
    [NOW - hours * HOUR + step for hours in (0, 1, 24, 36, 48, 60, 72) for step in (-1, 0, 1)]
)
happened = st.fixed_dictionaries(
    {
        "identity": st.integers(1, 2),
        "name": st.sampled_from(["Order Completed", 'O\'Brien "quoted" \\ ; DROP TABLE events --']),
        "type": st.just("track"),
        "at": moments,
        "properties": st.fixed_dictionaries({}, optional={"gift": st.booleans()}),
    }
)


@settings(max_examples=30, phases=[Phase.explicit, Phase.generate])  # each builds a database: no shrinking
@given(st.lists(happened, min_size=3, max_size=16), st.lists(sequences, min_size=12, max_size=12))
def test_any_sequence_finds_whom_trying_every_chain_finds(
    seen: list[dict[str, Any]], leaves: list[Any]
) -> None:
    with TemporaryDirectory() as folder:
        rig = rig_of(folder)
        world = World({1: 1, 2: 2}, seen, [], TRUST, set(), NOW)
        load(rig, world)
        rig.mirror.refresh()
        for leaf in leaves:
            assert set(rig.segments.preview({"where": leaf}).members) == world.members(leaf), leaf
        rig.close()


@pytest.fixture
def rig(database_url: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(database_url, tmp_path / "warehouse")
    yield made
    made.close()


def people(rig: Rig, *histories: Sequence[tuple[str, int]]) -> None:
    """Store a person for each history of (event, instant)."""
    with rig.people.committer.batch() as batch:
        for number, history in enumerate(histories, 1):
            rig.people.link(batch, [number])
            for name, at in history:
                rig.people.event(batch, number, name, at=at)
    rig.mirror.refresh()


def found(rig: Rig, *steps: Any, **more: Any) -> set[int]:
    return set(rig.segments.preview({"where": {"sequence": list(steps), **more}}).members)


A, B = {"event": "A"}, {"event": "B"}


def test_after_is_later_and_windows_include_their_end(rig: Rig) -> None:
    people(
        rig,
        [("A", NOW - 9 * HOUR), ("B", NOW - 9 * HOUR)],  # at once
        [("A", NOW - 9 * HOUR), ("B", NOW - 9 * HOUR + 1)],
        [("A", NOW - 9 * HOUR), ("B", NOW - 8 * HOUR)],  # after an hour
        [("A", NOW - 9 * HOUR), ("B", NOW - 8 * HOUR + 1)],
        [("B", NOW - 9 * HOUR), ("A", NOW - 8 * HOUR)],
        [("A", NOW - 9 * HOUR), ("B", NOW + 1)],  # not yet
    )
    assert found(rig, A, B) == {2, 3, 4}
    assert found(rig, A, {**B, "within": "1h"}) == {2, 3}
    assert found(rig, A, A) == set()  # one event is not two steps


def test_the_own_window_of_a_sequence_reaches_back_from_now(rig: Rig) -> None:
    people(
        rig,
        [("A", NOW - DAY - 1), ("B", NOW)],
        [("A", NOW - DAY), ("B", NOW)],
    )
    assert found(rig, A, B, within="1d") == {2}
    rig.people.clock.advance(1)
    assert found(rig, A, B, within="1d") == set()


def test_a_later_start_may_do_what_an_earlier_cannot(rig: Rig) -> None:
    people(
        rig,
        [("A", NOW - 9 * HOUR), ("A", NOW - 2 * HOUR), ("B", NOW - HOUR)],  # the second A
        [("A", NOW - 9 * HOUR), ("B", NOW - 8 * HOUR), ("A", NOW - HOUR)],  # the first
    )
    assert found(rig, A, {**B, "within": "1h"}) == {1, 2}


def test_a_last_step_that_does_not_happen_holds_once_its_window_is_over(rig: Rig) -> None:
    people(
        rig,
        [("A", NOW - 2 * HOUR - 1)],
        [("A", NOW - 2 * HOUR)],  # ends this instant, in which B may still happen
        [("A", NOW - 9 * HOUR), ("B", NOW - 7 * HOUR)],  # on its last instant
        [("A", NOW - 9 * HOUR), ("B", NOW - 7 * HOUR + 1)],
        [("A", NOW - 9 * HOUR), ("B", NOW - 9 * HOUR)],  # not after
    )
    absent = {"not": B, "within": "2h"}
    assert found(rig, A, absent) == {1, 4, 5}
    rig.people.clock.advance(1)
    assert found(rig, A, absent) == {1, 2, 4, 5}


def test_a_step_between_forbids_until_the_next_one_happens(rig: Rig) -> None:
    people(
        rig,
        [("A", NOW - 9 * HOUR), ("C", NOW - 5 * HOUR)],
        [("A", NOW - 9 * HOUR), ("B", NOW - 8 * HOUR), ("C", NOW - 5 * HOUR)],
        [("A", NOW - 9 * HOUR), ("B", NOW - 6 * HOUR), ("C", NOW - 5 * HOUR)],
        [("A", NOW - 9 * HOUR), ("C", NOW - 5 * HOUR), ("B", NOW - 4 * HOUR)],
        [("A", NOW - 9 * HOUR), ("B", NOW - 6 * HOUR), ("A", NOW - 6 * HOUR), ("C", NOW - 5 * HOUR)],
        [("A", NOW - 9 * HOUR), ("B", NOW - 7 * HOUR), ("C", NOW - 5 * HOUR)],  # on the last instant
    )
    c = {"event": "C"}
    assert found(rig, A, {"not": B}, c) == {1, 4, 5}
    assert found(rig, A, {"not": B, "within": "2h"}, c) == {1, 3, 4, 5}


def test_beginnings_of_one_sequence_in_one_definition_are_each_found_for_itself(rig: Rig) -> None:
    people(
        rig,
        [("A", NOW - 3 * HOUR)],
        [("A", NOW - 3 * HOUR), ("B", NOW - 2 * HOUR)],
        [("A", NOW - 3 * HOUR), ("B", NOW - 2 * HOUR), ("C", NOW - HOUR)],
        [("A", NOW - 3 * DAY), ("B", NOW - 2 * DAY)],
    )
    c = {"event": "C"}
    for wanted, without in (
        ({"sequence": [A]}, {"sequence": [A, B]}),
        ({"sequence": [A, B]}, {"sequence": [A, B, c]}),
        ({"sequence": [A, {"not": B, "within": "2h"}]}, {"sequence": [A, B]}),
        ({"sequence": [A, B]}, {"sequence": [A, B], "within": "1d"}),
        ({"sequence": [A, B]}, {"sequence": [A], "within": "1d"}),
    ):
        both = {"all": [wanted, {"not": without}]}
        told = set(rig.segments.preview({"where": both}).members)
        assert told == set(rig.segments.preview({"where": wanted}).members) - set(
            rig.segments.preview({"where": without}).members
        )
    assert told == {4}


def test_steps_look_at_properties_and_across_merged_identities(rig: Rig) -> None:
    with rig.people.committer.batch() as batch:
        rig.people.link(batch, [1, 2], [3])
        rig.people.event(batch, 2, "A", {"sku": "x"}, at=NOW - 3)
        rig.people.event(batch, 1, "B", at=NOW - 2)
        rig.people.event(batch, 3, "A", {"sku": "y"}, at=NOW - 3)
        rig.people.event(batch, 3, "B", at=NOW - 2)
    rig.mirror.refresh()
    step = {**A, "where": [{"property": "sku", "op": "eq", "value": "x"}]}
    assert found(rig, step, B) == {1}
    assert found(rig, A, B) == {1, 3}


@pytest.mark.parametrize(
    ("steps", "more", "said"),
    [
        ([], {}, "1 to 20 steps"),
        ([{"not": A}, B], {}, "first step is one that happens"),
        ([A, {"not": B}], {}, "needs within"),
        ([A, {"not": B, "within": "1d"}, {"not": B}], {}, "needs within"),
        ([{**A, "within": "1d"}, B], {}, "first step comes after none"),
        ([A, {"not": {**B, "within": "1d"}}], {}, "no key within"),
        ([A, {**B, "count": {"gte": 2}}], {}, "no key count"),
        ([A, {"where": []}], {}, "needs the key event"),
        ([A, "B"], {}, "a step is a map"),
        ([A, B], {"from": "2024-01-01"}, "no key from"),
        ([A] * 21, {}, "1 to 20 steps"),
        ([A, {**B, "within": "1 day"}], {}, "such as 30d"),
    ],
)
def test_what_is_no_sequence_is_refused(tmp_path: Path, steps: Any, more: Any, said: str) -> None:
    rig = rig_of(str(tmp_path))
    with pytest.raises(DefinitionError, match=said):
        rig.segments.parse({"where": {"sequence": steps, **more}}, "")
    rig.close()
