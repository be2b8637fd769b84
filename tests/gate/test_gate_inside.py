"""What the controller itself is shown and revealed, by the gate over small databases."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from gate_world import World, running

from cdp.gate import Refusal, View
from cdp.policy import Rule, Transform

world = pytest.fixture(running, name="world")
QUALITY = "data_quality"
MASK = Rule(id="plans-masked", effect="limit", purpose=QUALITY, fields={"user.account": Transform("mask")})
PLAN = Rule(
    id="quality-of-plans",
    effect="permit",
    purpose=QUALITY,
    destination_names=frozenset({"controller"}),
    fields={
        "user.account": Transform("clear"),
        "user.location.coarse": Transform("clear"),
        "user.contact": Transform("clear"),
        "user.behavior": Transform("clear"),
    },
)
NOWHERE = Rule(id="no-places", effect="forbid", purpose=QUALITY, inputs=("user.location.coarse",))


def view(world: World, person: int, purpose: str = QUALITY) -> View:
    with world.store.reading() as connection:
        admitted = world.gate.inside.admit(connection, purpose)
        assert not isinstance(admitted, Refusal), admitted.reason
        return world.gate.inside.views(connection, admitted, {person: [person, person + 1]})[person]


def reveal(world: World, person: int, *fields: str, purpose: str = QUALITY) -> Any:
    with world.store.reading() as connection:
        admitted = world.gate.inside.admit(connection, purpose)
        assert not isinstance(admitted, Refusal), admitted.reason
        return world.gate.reveal(connection, admitted, person, [person, person + 1], fields)


def test_each_field_has_the_form_that_the_policies_give_it(world: World) -> None:
    ada = world.person("Ada", {"plan": "premium"})
    world.change(rules=(PLAN, MASK))
    seen = view(world, ada)
    plan, country, email = seen.trait("plan"), seen.trait("country"), seen.trait("email")
    assert plan is not None
    assert country is not None
    assert email is not None
    assert (plan("premium"), country("Germany")) == ("p***", "Germany")
    for unseen in ("first_name", "likely_pregnant", "never_declared"):
        assert seen.trait(unseen) is None
    opened = reveal(world, ada, "plan", "email", "first_name")
    assert opened.values == {"plan": "p***", "email": "ada@people.example"}
    assert opened.plan == {"plan": "mask", "email": "clear", "first_name": "drop"}
    assert "ada" not in repr(opened)


def test_a_forbid_takes_its_field_from_a_portrait_and_a_reveal_that_names_it_whole(world: World) -> None:
    ada = world.person("Ada", {"plan": "premium"})
    world.change(rules=(PLAN, NOWHERE))
    seen = view(world, ada)
    assert seen.reason == "permitted"
    assert seen.trait("country") is None
    assert seen.trait("plan") is not None
    refused = reveal(world, ada, "plan", "country")
    assert isinstance(refused, Refusal)
    assert refused.reason == "forbidden"
    assert reveal(world, ada, "plan").values == {"plan": "premium"}


def test_an_event_shows_nothing_where_having_done_it_may_not_be_seen(world: World) -> None:
    ada = world.person("Ada")
    ordered = ("track", "Order Completed")
    matching = view(world, ada, "identity_resolution")
    assert matching.event(*ordered) is None, "the shipped rule names no behaviour"
    assert matching.event("identify", "identify") is not None
    reviewed = view(world, ada, "compliance_review").event(*ordered)
    assert reviewed is not None
    for name in ("revenue", "context.page.path", "declared_no_more"):
        assert reviewed(name) is not None
    world.change(rules=(PLAN,))
    some = view(world, ada).event(*ordered)
    assert some is not None
    assert some("revenue") is not None
    assert some("context.app.name") is None, "of another category"
    assert not view(world, ada).chosen_by(frozenset({"user.behavior"})), "a permit lists no inputs"


def test_restraints_stop_it_and_a_black_list_does_not(world: World) -> None:
    ada, bob = world.person("Ada"), world.person("Bob")
    world.say(ada, "objected", purpose=QUALITY)
    world.segments.black.add(bob)
    assert view(world, ada).reason == "objected"
    refused = reveal(world, ada, "email")
    assert isinstance(refused, Refusal)
    assert refused.reason == "objected"
    assert view(world, ada, "rights").reason == "permitted"
    assert reveal(world, bob, "email").values == {"email": "bob@people.example"}
    assert world.gate.authorise(world.request(), dry_run=True).counts.withheld["black_list"] == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"enabled": False}, "destination_off"), ({"contract_expires": "2020-01-01"}, "contract_expired"),
     ({"purposes": frozenset({"rights"})}, "purpose_not_for_destination")],
)  # fmt: skip
def test_nothing_is_shown_while_the_controller_is_barred(
    world: World, changes: dict[str, Any], reason: str
) -> None:
    controller = msgspec.structs.replace(world.bundle.destinations["controller"], **changes)
    world.change(destinations={**world.bundle.destinations, "controller": controller})
    with world.store.reading() as connection:
        refused = world.gate.inside.admit(connection, QUALITY)
        assert isinstance(refused, Refusal)
        assert refused.reason == reason
        assert not isinstance(world.gate.inside.admit(connection, QUALITY, shows=False), Refusal)


def test_who_has_lost_the_key_is_not_revealed(world: World) -> None:
    ada = world.person("Ada")
    world.keyring.destroy([ada])
    refused = reveal(world, ada, "email")
    assert isinstance(refused, Refusal)
    assert refused.reason == "key_unavailable"
