"""Which law binds a person, as read from the places recorded of their identities."""

from __future__ import annotations

import msgspec
import pytest
from gate_world import World, running

world_fixture = pytest.fixture(running, name="world")


@pytest.fixture
def california(world: World) -> World:
    """E-mail may go to people of the EU and of California, and to nobody of another state."""
    rules = tuple(
        msgspec.structs.replace(rule, jurisdictions=frozenset({"EU", "US-CA"}))
        for rule in world.bundle.rules
        if rule.id == "email-marketing-opt-in"
    )
    world.change(rules=rules)
    return world


def test_a_state_decides_within_its_country_and_only_where_it_is_known(california: World) -> None:
    places = {
        "Ada": {"country": "United States", "address.state": "CA"},
        "Bea": {"country": "US", "region": " california "},
        "Cyd": {"country": "US", "address.state": "Texas"},
        "Dov": {"country": "US"},  # may be a Texan
        "Eli": {"country": "US", "address.state": "Springfield"},  # no state; takes nothing away
        "Fay": {"country": "Spain", "address.state": "CA"},  # Cádiz
        "Gus": {"country": "US-CA"},
    }
    for name, traits in places.items():
        california.person(name, traits)
    given = california.gate.authorise(california.request(fields=("email",)))
    assert given.counts.withheld == {"not_permitted": 3}
    released = {email.partition("@")[0] for email in california.emails(given.export_id)}
    assert released == {"ada", "bea", "fay", "gus"}


def test_moving_adds_a_law_and_takes_none_away(california: World) -> None:
    ada = california.person("Ada", {"country": "US", "address.state": "CA"})
    california.observe(ada, {"address.state": "NV"})
    given = california.gate.authorise(california.request(fields=("email",)), dry_run=True)
    assert given.counts.withheld == {"not_permitted": 1}


def test_a_merge_never_borrows_the_state_of_another_identity(california: World) -> None:
    """Of the one the state is known, of the other only the country: its state may be another."""
    ada = california.person("Ada", {"country": "US", "address.state": "CA"})
    assert california.gate.authorise(california.request(fields=("email",))).counts.released == 1
    california.observe(ada + 1, {"country": "US"})
    given = california.gate.authorise(california.request(fields=("email",)), dry_run=True)
    assert given.counts.withheld == {"not_permitted": 1}


def test_a_jurisdiction_named_with_a_consent_is_a_place(california: World) -> None:
    ada = california.person("Ada", {"country": "US", "address.state": "CA"})
    california.say(ada, "granted", jurisdiction="US-CA")
    assert california.gate.authorise(california.request(fields=("email",))).counts.released == 1
    california.say(ada, "granted", jurisdiction="other")
    given = california.gate.authorise(california.request(fields=("email",)), dry_run=True)
    assert given.counts.withheld == {"not_permitted": 1}
