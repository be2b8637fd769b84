"""Masks of identifiers, by the gate over small databases: what the policies let be masked, and no more."""

from __future__ import annotations

from typing import Any

import pytest
from gate_world import World, running

from cdp.gate import Refusal
from cdp.identity.queries import identifiers
from cdp.policy import Rule, Transform

world = pytest.fixture(running, name="world")
QUALITY = "data_quality"


def permit(**fields: str) -> Rule:
    return Rule(
        id="quality",
        effect="permit",
        purpose=QUALITY,
        destination_names=frozenset({"controller"}),
        fields={category.replace("__", "."): Transform(kind) for category, kind in fields.items()},  # type: ignore[arg-type]  # the words are checked by Transform
    )


def masked(world: World, person: int, purpose: str = QUALITY) -> tuple[dict[str, Any], dict[str, bool]]:
    """Return type → mask, and type → whether it may be seen that there is one."""
    with world.store.reading() as connection:
        admitted = world.gate.inside.admit(connection, purpose)
        assert not isinstance(admitted, Refusal), admitted.reason
        numbers = [person, person + 1]
        view = world.gate.inside.views(connection, admitted, {person: numbers})[person]
        held = identifiers(connection, numbers)
        rows = [(item.identity_no, item.type, item.value) for item in held]
        made = world.gate.masked(connection, view, person, rows)
        assert len({one.profile_ref for one in made.values()}) <= 1
        shown = {item.type: made[item.identity_no].values[0] for item in held if item.identity_no in made}
        return shown, {item.type: view.names(item.type) for item in held}


@pytest.mark.parametrize("transform", ["clear", "mask"])
def test_a_mask_is_the_most_that_is_made(world: World, transform: str) -> None:
    ada = world.person("Ada")
    world.change(rules=(permit(user__contact=transform, user__unique_id=transform),))
    shown, named = masked(world, ada)
    assert shown == {"email": "a***@p***", "user_id": "u***"}
    assert named == {"email": True, "user_id": True}


@pytest.mark.parametrize("transform", ["hash", "pseudonymise"])
def test_where_the_policies_want_another_form_there_is_no_mask(world: World, transform: str) -> None:
    ada = world.person("Ada")
    world.change(rules=(permit(user__contact__email=transform, user__unique_id="clear"),))
    shown, named = masked(world, ada)
    assert shown == {"user_id": "u***"}
    assert named == {"email": True, "user_id": True}


def test_what_they_drop_is_not_even_named(world: World) -> None:
    ada = world.person("Ada")
    world.change(rules=(permit(user__unique_id="clear"),))
    assert masked(world, ada) == ({"user_id": "u***"}, {"email": False, "user_id": True})


def test_of_whom_nothing_may_be_shown_there_is_no_mask(world: World) -> None:
    ada = world.person("Ada")
    world.say(ada, "objected", purpose=QUALITY)
    assert masked(world, ada) == ({}, {"email": False, "user_id": False})
    assert set(masked(world, ada, "rights")[0]) == {"email", "user_id"}


def test_what_cannot_be_opened_is_absent(world: World) -> None:
    ada = world.person("Ada")
    world.keyring.destroy([ada + 1])
    assert set(masked(world, ada)[0]) == {"user_id"}
    world.keyring.destroy([ada])
    assert masked(world, ada)[0] == {}
