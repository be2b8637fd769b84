"""A person's key that is lost or altered: it restrains that person, and nobody else."""

from __future__ import annotations

import msgspec
import pytest
from gate_world import EMAIL, World, running
from sqlalchemy import delete, update

from cdp.crypto import Domain
from cdp.crypto.tables import deks
from cdp.gate import facts

world_fixture = pytest.fixture(running, name="world")
spoiled = pytest.mark.parametrize("how", ["lost", "altered"])


def _spoil(world: World, number: int, how: str, domain: Domain = "person") -> None:
    found = (deks.c.identity_no == number) & (deks.c.domain == domain)
    change = delete(deks) if how == "lost" else update(deks).values(wrapped=bytes(60))
    with world.keys.writing() as connection, connection.begin():
        connection.execute(change.where(found))
    world.keyring.observe_epoch(-1)  # what is in memory goes
    world.keyring.observe_epoch(0)


@spoiled
@pytest.mark.parametrize("many", [2_000, -1])
def test_who_may_be_a_minor_by_what_cannot_be_opened_is_one(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str, many: int
) -> None:
    monkeypatch.setattr(facts, "_MANY", many)  # from the store, and from what is kept of everybody
    ada = world.person("Ada")
    world.observe(ada + 1, {"birthday": "2015-01-01"})
    world.person("Bea")
    _spoil(world, ada + 1, how)
    given = world.gate.authorise(world.request(fields=("email",)))
    assert given.counts.withheld == {"forbidden": 1}
    assert world.emails(given.export_id) == {"bea@people.example"}


@spoiled
def test_a_place_that_cannot_be_opened_may_be_anywhere(world: World, how: str) -> None:
    rules = tuple(
        msgspec.structs.replace(rule, jurisdictions=frozenset({"EU", "US-CA"}))
        for rule in world.bundle.rules
        if rule.id == "email-marketing-opt-in"
    )
    fields = world.bundle.fields
    state = msgspec.structs.replace(fields.traits["address.state"], protection="sealed")
    traits = {**fields.traits, "address.state": state}
    world.change(rules=rules, fields=msgspec.structs.replace(fields, traits=traits))
    ada = world.person("Ada", {"country": "US", "address.state": "CA"})
    request = world.request(fields=("email",))
    assert world.gate.authorise(request, dry_run=True).counts.released == 1
    _spoil(world, ada, how)
    assert world.gate.authorise(request, dry_run=True).counts.withheld == {"not_permitted": 1}


def test_what_was_told_of_somebody_erased_is_gone(world: World) -> None:
    ada = world.person("Ada")
    world.observe(ada + 1, {"birthday": "2015-01-01"})
    world.keyring.destroy([ada + 1])
    assert world.gate.authorise(world.request(fields=("first_name",)), dry_run=True).counts.released == 1


@spoiled
@pytest.mark.parametrize("domain", ["person", "proof"])
def test_one_spoiled_key_stops_neither_exports_nor_recalls(world: World, how: str, domain: Domain) -> None:
    ada, bea = world.person("Ada"), world.person("Bea")
    given = world.gate.authorise(world.request(fields=("email",)))
    assert len(world.emails(given.export_id)) == 2
    _spoil(world, ada, how, domain)
    withheld = {"key_unavailable": 1} if domain == "proof" else {}
    again = world.gate.authorise(world.request(fields=("email",)))
    assert again.counts.withheld == withheld
    assert world.emails(again.export_id) == {"bea@people.example"}
    world.say(bea, "withdrawn", purpose=EMAIL)
    world.clock.advance(1_000_000_000)
    assert [len(recall.removals) for turn in world.gate.recalls.due() for recall in turn] == [1]
