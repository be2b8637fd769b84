"""A key that is lost or altered leaves nobody unnamed in silence: entries, receipts and recalls say so."""

from __future__ import annotations

import json

import pytest
from caller import Caller
from gate_world import EMAIL, World, running
from recovery_world import number_of, say
from sqlalchemy import delete, update

from cdp.crypto import Domain, Keyring
from cdp.crypto.tables import deks

world_fixture = pytest.fixture(running, name="world")
HOW = pytest.mark.parametrize("how", ["deleted", "altered", "destroyed"])


def spoil(keyring: Keyring, number: int, how: str, domain: Domain) -> None:
    found = (deks.c.identity_no == number) & (deks.c.domain == domain)
    if how == "destroyed":
        keyring.destroy([number], domain)
    else:
        change = delete(deks) if how == "deleted" else update(deks).values(wrapped=bytes(60))
        with keyring.store.writing() as connection, connection.begin():
            connection.execute(change.where(found))
    keyring.observe_epoch(-1)  # what is in memory goes
    keyring.observe_epoch(0)


@HOW
def test_a_recall_of_somebody_without_a_key_is_lost_and_of_the_others_sent(world: World, how: str) -> None:
    ada, bea = world.person("Ada"), world.person("Bea")
    refs = {
        row["email"]: row["profile_ref"]
        for row in world.rows(world.gate.authorise(world.request()).export_id)
    }
    assert [list(turn) for turn in world.gate.recalls.due()] == [[]]
    spoil(world.keyring, ada, how, "person")
    for person in (ada, bea):
        world.say(person, "withdrawn", purpose=EMAIL)
    (recall,) = [recall for turn in world.gate.recalls.due() for recall in turn]
    assert list(recall.lost) == [ada]
    assert [row.profile_ref for row in recall.removals.values()] == [refs["bea@people.example"]]
    with world.committer.batch() as batch:
        world.gate.recalls.settle(batch, recall)
    assert [list(turn) for turn in world.gate.recalls.due()] == [[]], "said once"


@HOW
def test_an_entry_and_a_receipt_say_that_a_key_is_lost(caller: Caller, how: str) -> None:
    say(caller, "ann", True, 1)
    services = caller.services
    number = number_of(caller, "ann")
    assert number is not None
    with services.store.reading() as connection:
        (record,) = services.ledger.records_of(connection, [number])
    whole = json.loads(services.receipts.issue("system", record.record_id))
    assert len(whole["pii_principal_id"]) == 64
    spoil(services.keyring, number, how, "proof")
    spoiled = json.loads(services.receipts.issue("system", record.record_id))
    erased = how == "destroyed"
    assert spoiled["pii_principal_id"] == (None if erased else "lost")
    latest, before = caller.api("GET", "/audit?action=consent.receipt")["items"][:2]
    assert before["people"] == {}
    assert latest["people"] == ({} if erased else {"subjects_lost": "<10"})
    assert caller.api("GET", "/audit/verify")["verified"]
