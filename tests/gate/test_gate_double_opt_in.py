"""A purpose for which policy asks for a double opt-in: an unconfirmed yes is on record and moves nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from gate_world import EMAIL, World, running

from cdp.gate import Authorisation
from cdp.policy import Purpose

world_fixture = pytest.fixture(running, name="world")


def ask(world: World, *jurisdictions: str) -> None:
    """Have policy ask for a double opt-in there."""
    purpose: Purpose = world.bundle.purposes[EMAIL]
    asking = msgspec.structs.replace(purpose, double_opt_in=jurisdictions)
    world.change(purposes={**world.bundle.purposes, EMAIL: asking})


def dry(world: World) -> Authorisation:
    return world.gate.authorise(world.request(), dry_run=True)


def confirm(world: World, number: int, **more: Any) -> None:
    world.say(number, "granted", **{"method": "double_opt_in", **more})


def test_a_yes_counts_once_it_is_confirmed(world: World) -> None:
    ask(world, "EU")
    ada, bea = world.person("Ada"), world.person("Bea")
    confirm(world, bea)
    given = world.gate.authorise(world.request())
    assert given.counts.withheld == {"consent_not_confirmed": 1}
    assert world.emails(given.export_id) == {"bea@people.example"}
    confirm(world, ada, method="preference_page")  # reached by a link that was sent to the very address
    assert dry(world).counts.released == 2


def test_a_no_ends_a_confirmation(world: World) -> None:
    ask(world, "EU")
    ada = world.person("Ada", consent=None)
    confirm(world, ada)
    export = world.gate.authorise(world.request()).export_id
    assert len(world.emails(export)) == 1
    world.say(ada, "granted")  # another yes takes nothing away
    assert len(world.emails(export)) == 1
    world.say(ada, "withdrawn", purpose="marketing")
    world.say(ada, "granted", purpose="marketing")
    world.say(ada, "granted")
    assert dry(world).counts.withheld == {"consent_not_confirmed": 1}


def test_of_several_laws_one_is_enough_to_ask_for_it(world: World) -> None:
    ask(world, "UK")
    world.person("Ada", {"country": "Germany"})
    world.person("Bea", {"country": "United Kingdom"})
    assert dry(world).counts.withheld == {"consent_not_confirmed": 1}


def test_nobody_said_yes_is_told_apart(world: World) -> None:
    ask(world, "EU")
    world.person("Ada", consent=None)
    assert dry(world).counts.withheld == {"no_consent": 1}
