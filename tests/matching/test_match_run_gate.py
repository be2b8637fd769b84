"""Of whom the gate opens what for matching, over small databases."""

from __future__ import annotations

from typing import Any

import pytest
from gate_world import World, running

from cdp.gate import Readable, Refusal, Released, Wanted
from cdp.policy import Rule, Transform
from cdp.profiles.tables import trait_observations

world = pytest.fixture(running, name="world")
MATCHING = "identity_resolution"
FIELDS = (Wanted("first_name"), Wanted("email"), Wanted("plan"), Wanted("email", identifier=True))


def read(world: World, *people: int, fields: tuple[Wanted, ...] = FIELDS) -> dict[int, tuple[Any, ...]]:
    members = {person: [person, person + 1] for person in people}
    with world.store.reading() as connection:
        admitted = world.gate.inside.admit(connection, MATCHING)
        assert not isinstance(admitted, Refusal), admitted.reason
        rows = world.gate.read_many(connection, admitted, members, fields)
    assert all(isinstance(row, Released) for _, row in rows)
    return {number: row.values for number, row in rows}


def decide(world: World, *people: int) -> Readable:
    members = {person: [person, person + 1] for person in people}
    with world.store.reading() as connection:
        admitted = world.gate.inside.admit(connection, MATCHING)
        assert not isinstance(admitted, Refusal), admitted.reason
        return world.gate.many.decide(connection, admitted, members, FIELDS)


def test_what_the_shipped_policies_give_is_opened_and_the_rest_is_not(world: World) -> None:
    ada = world.person("Ada", {"plan": "premium"})
    bob = world.person("Bob")
    world.observe(bob + 1, {"first_name": "Robert"})
    found = read(world, ada, bob)
    assert found == {
        ada: ("Ada", "ada@people.example", None, "ada@people.example"),
        bob: ("Bob", "bob@people.example", None, "bob@people.example"),
        bob + 1: ("Robert", None, None, "bob@people.example"),
    }, "each identity has its own values, and the identifiers of its profile; a plan is no business of this"
    assert "Ada" not in repr(found)[:0] + repr(decide(world, ada))


def test_what_is_sensitive_is_never_opened(world: World) -> None:
    ada = world.person("Ada", {"likely_pregnant": True})
    assert read(world, ada, fields=(Wanted("likely_pregnant"), Wanted("never_declared"))) == {}


@pytest.mark.parametrize("state", ["objected", "restricted"])
def test_who_restrains_it_is_not_read(world: World, state: Any) -> None:
    ada, bob = world.person("Ada"), world.person("Bob")
    world.say(ada, state, purpose=MATCHING)
    assert list(read(world, ada, bob)) == [bob]
    assert {reason: list(people) for reason, people in decide(world, ada, bob).withheld.items()} == {
        state: [ada]
    }


def test_a_forbid_takes_its_field_and_a_mask_is_as_good_as_nothing(world: World) -> None:
    ada = world.person("Ada")
    forbid = Rule(id="no-addresses", effect="forbid", purpose=MATCHING, inputs=("user.contact.email",))
    mask = Rule(id="m", effect="limit", purpose=MATCHING, fields={"user.name": Transform("mask")})
    world.change(rules=(*world.bundle.rules, forbid))
    assert read(world, ada) == {ada: ("Ada", None, None, None)}
    world.change(rules=(*world.bundle.rules, mask))
    assert read(world, ada) == {}


def test_whose_key_is_gone_is_absent_and_what_was_altered_too(world: World) -> None:
    ada, bob, eve = world.person("Ada"), world.person("Bob"), world.person("Eve")
    world.keyring.destroy([ada, ada + 1])
    with world.committer.batch() as batch:
        altered = trait_observations.update().values(sealed=b"\x01" * 80)
        o = trait_observations.c
        batch.connection.execute(altered.where(o.identity_no == bob, o.name == "first_name"))
    found = read(world, ada, bob, eve)
    assert found[bob] == (None, "bob@people.example", None, "bob@people.example")
    assert set(found) == {bob, eve}
