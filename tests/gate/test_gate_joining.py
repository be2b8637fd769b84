"""Two destinations that lay their exports side by side find no row of the one in the other."""

from __future__ import annotations

from itertools import combinations, count
from typing import Any

import msgspec
import pytest
from gate_world import EMAIL, World, running
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from cdp.policy import Rule, Transform

world_fixture = pytest.fixture(running, name="world")
FIELDS = ("user_id", "email", "first_name", "birthday")
SIDES = ("mailer", "crm")
PEOPLE = 24
_NUMBERS = count()
PSEUDONYM = Transform("pseudonymise", "per_destination")
# values that people share: a pseudonym made of one would be alike, too
traits = st.fixed_dictionaries(
    {"first_name": st.sampled_from(["Ada", "Bea"])},
    optional={"birthday": st.sampled_from(["1980-01-01", "1990-02-02"])},
)


@pytest.fixture
def town(world: World) -> World:
    """A world of two destinations that get the same fields of everybody, all of them as pseudonyms."""
    world.change_destination(minimum_audience=0, unsubscribe_url=True)
    other = msgspec.structs.replace(world.bundle.destinations["mailer"], name="crm")
    permit = Rule(
        id="all", effect="permit", purpose=EMAIL, legal_basis="consent", inputs=(), fields={"*": PSEUDONYM}
    )
    world.change(destinations={**world.bundle.destinations, "crm": other}, rules=(permit,))
    return world


def _received(world: World, destination: str, numbers: BitMap) -> list[tuple[int, list[Any]]]:
    """Return (person, everything in the row) of an export, in its order."""
    export = world.gate.authorise(world.request(destination=destination, fields=FIELDS)).export_id
    found, named, _ = world.gate.render_some(export, world.another_key(destination), numbers)
    rows = [(named[row.profile_ref], [row.profile_ref, *row.values]) for row in found.rows]
    key = world.another_key(destination)
    assert [row.profile_ref for row in world.gate.render(export, key).rows] == [row[0] for _, row in rows]
    return rows


def _alike(one: list[int], other: list[int]) -> float:
    """Return how alike two orders of the same people are (Kendall's tau: 1 the same, -1 the reverse)."""
    places = {person: place for place, person in enumerate(other)}
    pairs = list(combinations(one, 2))
    return sum(1 if places[a] < places[b] else -1 for a, b in pairs) / len(pairs)


@settings(
    max_examples=2,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(crowd=st.lists(traits, min_size=PEOPLE, max_size=PEOPLE))
def test_no_value_and_no_order_joins_two_exports(town: World, crowd: list[dict[str, str]]) -> None:
    town.segments.members.clear()
    people = BitMap(town.person(f"Ada{next(_NUMBERS)}", given_) for given_ in crowd)
    received = {side: _received(town, side, people) for side in SIDES}
    values = {}
    for side, rows in received.items():
        assert {person for person, _ in rows} == set(people)
        values[side] = [value for _, row in rows for value in row if value is not None]
        assert len(set(values[side])) == len(values[side]), "two people or two fields share a value"
        assert _received(town, side, people)[0][1][0] == rows[0][1][0], "a destination knows its people again"
    assert not set(values["mailer"]) & set(values["crm"])
    here, there = ([person for person, _ in received[side]] for side in SIDES)
    for one, other in ((here, there), (here, list(people)), (there, list(people))):
        assert abs(_alike(one, other)) < 0.75, "by chance less than once in a million"
