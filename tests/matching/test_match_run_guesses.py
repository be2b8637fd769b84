"""What a guess must not do: lift a no, undo a steward's word; and what arrives while a run is at work."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller
from people import Person, are_one, run
from scripted import LIKELY, SURE, Scripted, people, scripted

from cdp.clock import SECOND, FixedClock

core = pytest.fixture(scripted, name="core")
EMAIL = "marketing.communications.email"


def said(caller: Caller, kind: str, value: str) -> str:
    profile = caller.lookup(kind, value)["id"]
    items = caller.api("GET", f"/profiles/{profile}/consents", purpose="rights")["items"]
    return next(str(item["state"]) for item in items if item["purpose"] == EMAIL)


@pytest.mark.usefixtures("core")
def test_a_yes_does_not_reach_across_a_guess(caller: Caller, clock: FixedClock) -> None:
    def say(kind: str, value: str, state: str) -> None:
        clock.advance(SECOND)
        about = {"identifiers": [{"type": kind, "value": value}], "purpose": EMAIL, "state": state}
        caller.api("POST", "/consents", about)

    people(caller, 1)
    say("anonymous_id", "letter-1", "withdrawn")
    clock.advance(SECOND)
    assert run(caller)["linked"] == 1
    assert are_one(caller, 1)
    say("user_id", "shop-1", "granted")
    assert said(caller, "user_id", "shop-1") == "withdrawn"


def test_rejected_people_are_not_brought_together_by_way_of_a_third(caller: Caller, core: Scripted) -> None:
    core.weight = LIKELY
    people(caller, 1)
    run(caller)
    (pair,) = caller.api("GET", "/identity/review")["items"]
    caller.api("POST", f"/identity/review/{pair['id']}", {"decision": "reject"})
    core.weight = SURE
    caller.send({**Person(1).newsletter(), "anonymousId": "third"})
    assert run(caller, full=True)["linked"] == 1
    assert not are_one(caller, 1)


def test_a_trait_that_arrives_while_people_are_read_waits_for_the_next_run(
    caller: Caller, core: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(caller, 1)
    caller.send({"type": "track", "event": "x", "anonymousId": "tablet", "userId": "shop-1"})
    choose = caller.services.matching._chooser

    def chosen(*given: Any, **named: Any) -> object:
        found = choose(*given, **named)
        caller.send({"type": "identify", "anonymousId": "tablet", "traits": {"firstName": "Zed"}})
        return found

    monkeypatch.setattr(caller.services.matching, "_chooser", chosen)
    ended = run(caller)
    assert (ended["state"], ended["records"]) == ("done", 2)
    assert core.fresh is None
