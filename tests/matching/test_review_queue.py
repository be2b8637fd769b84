"""The review queue: what a steward sees of a pair, decides, and what follows."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from caller import Caller
from people import Person, are_one, profile, run
from platform_fixtures import Shell
from scripted import LIKELY, SURE, Scripted, entries, object_to_it, people, scripted

from cdp.cli.client import connected
from cdp.clock import SECOND, FixedClock
from cdp.matching.tables import match_pairs
from cdp.settings import load

core = pytest.fixture(scripted, name="core")
QUEUE = "/identity/review"


@pytest.fixture(autouse=True)
def _likely(core: Scripted) -> None:
    core.weight = LIKELY


def waiting(caller: Caller, path: str = QUEUE) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = caller.api("GET", path)["items"]
    return found


def test_a_likely_pair_waits_with_its_waterfall_and_no_value(caller: Caller) -> None:
    (ada,) = people(caller, 1)
    assert run(caller)["queued"] == 1
    assert not are_one(caller, 1)
    (pair,) = waiting(caller)
    assert (pair["kind"], pair["why"], pair["run"]) == ("match", "probability", 1)
    assert 0.88 < pair["probability"] < 0.9
    assert pair["waterfall"] == [{"field": "given_name", "level": "exact", "weight": LIKELY}]
    both = {profile(caller, "user_id", "shop-1"), profile(caller, "anonymous_id", "letter-1")}
    assert set(pair["profiles"]) == both
    assert caller.api("GET", f"{QUEUE}/{pair['id']}") == pair
    assert ada.first not in str(pair)
    looked = entries(caller, action="identity.review")
    assert len(looked) == 2
    assert all(entry.subjects and entry.purpose == "identity_resolution" for entry in looked)


def test_accepting_links_by_the_stewards_word_and_a_split_takes_it_back(caller: Caller) -> None:
    people(caller, 1)
    run(caller)
    (pair,) = waiting(caller)
    assert caller.api("POST", f"{QUEUE}/{pair['id']}", {"decision": "accept"})["state"] == "accepted"
    assert are_one(caller, 1)
    assert waiting(caller) == []
    caller.api("POST", f"{QUEUE}/{pair['id']}", {"decision": "reject"}, expect=409)
    caller.api("GET", f"{QUEUE}/{pair['id']}", expect=404)
    merged = entries(caller, action="identity.merge")
    assert [entry.object["reason"] for entry in merged] == ["match_review"]
    letter = next(
        item["id"]
        for item in caller.api("GET", f"/profiles/{pair['profiles'][0]}/identifiers", purpose="rights")[
            "items"
        ]
        if item["type"] == "anonymous_id"
    )
    caller.api("POST", f"/profiles/{letter}/split", {"dry_run": False}, purpose="data_quality")
    assert not are_one(caller, 1)
    assert run(caller, full=True)["queued"] == 0


def test_a_rejected_pair_is_never_proposed_again(caller: Caller, core: Scripted) -> None:
    people(caller, 1)
    run(caller)
    (pair,) = waiting(caller)
    assert caller.api("POST", f"{QUEUE}/{pair['id']}", {"decision": "reject"})["state"] == "rejected"
    assert waiting(caller) == []
    assert run(caller, full=True)["queued"] == 0
    core.weight = SURE
    assert run(caller, full=True)["linked"] == 0
    assert not are_one(caller, 1)
    caller.send({"type": "identify", "userId": "shop-1", "anonymousId": "letter-1"})
    assert are_one(caller, 1), "what a source states is no guess"


def test_the_newest_run_replaces_what_it_looked_at_and_leaves_the_rest(
    caller: Caller, core: Scripted, clock: FixedClock
) -> None:
    people(caller, 1, 2)
    assert run(caller)["queued"] == 2
    clock.advance(SECOND)
    caller.send(Person(1).newsletter(birthday="1901-01-01"))
    assert run(caller)["queued"] == 0
    (left,) = waiting(caller)
    assert profile(caller, "user_id", "shop-2") in left["profiles"]
    core.weight = SURE
    run(caller, full=True)
    assert waiting(caller) == []
    assert are_one(caller, 2)
    with caller.services.store.reading() as connection:
        states = [row.state for row in connection.execute(match_pairs.select())]
    assert states == ["linked"]


@pytest.mark.parametrize("state", ["objected", "restricted"])
def test_who_restrains_it_is_not_shown_and_not_linked(caller: Caller, state: str) -> None:
    people(caller, 1, 2)
    run(caller)
    one = next(pair for pair in waiting(caller) if profile(caller, "user_id", "shop-1") in pair["profiles"])
    object_to_it(caller, 1, state)
    assert len(waiting(caller)) == 1
    for decision in ("accept", "reject"):
        caller.api("POST", f"{QUEUE}/{one['id']}", {"decision": decision}, expect=404)
    assert not are_one(caller, 1)


def test_the_queue_is_a_list_with_cursors_that_tell_nothing(caller: Caller) -> None:
    people(caller, *range(1, 8))
    run(caller)
    seen, path = [], f"{QUEUE}?limit=3"
    while path:
        page = caller.api("GET", path)
        seen += [pair["id"] for pair in page["items"]]
        path = page["next"] and f"{QUEUE}?limit=3&cursor={page['next']}"
    assert len(seen) == len(set(seen)) == 7
    caller.api("GET", f"{QUEUE}?cursor=abc", expect=400)


@pytest.mark.parametrize("pair", ["x", "x.y", "..", "p_1", "%F0%9F%98%80.y"])
def test_an_id_that_is_none_is_told_so(caller: Caller, pair: str) -> None:
    caller.api("GET", f"{QUEUE}/{pair}", expect=404)
    caller.api("POST", f"{QUEUE}/{pair}", {"decision": "reject"}, expect=404)


def test_only_a_steward_decides(caller: Caller) -> None:
    people(caller, 1)
    run(caller)
    (pair,) = waiting(caller)
    officer = caller.officer("officer")
    assert len(caller.api("GET", QUEUE, key=officer)["items"]) == 1
    caller.api("POST", f"{QUEUE}/{pair['id']}", {"decision": "accept"}, key=officer, expect=403)
    caller.api("POST", f"{QUEUE}/{pair['id']}", {"decision": "maybe"}, expect=400)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_commands_show_and_decide(shell: Shell, core: Scripted) -> None:
    with connected(load()) as api:
        key = api.post("/sources", {"name": "shop", "kind": "server"})["write_key"]
        for number in (1, 2):
            api.ingest(key, [Person(number).shop(), Person(number).newsletter()])
    assert json.loads(shell("match", "run", "--json"))["queued"] == 2
    assert shell("match", "list").count("done") == 1
    first, second = json.loads(shell("identity", "review", "--json"))
    table = shell("identity", "review")
    assert "given_name (exact)" in table
    shown = shell("identity", "review", "show", first["id"])
    assert "+3.00" in shown
    assert Person(1).first not in table + shown
    assert "accepted" in shell("identity", "review", "accept", first["id"])
    assert "rejected" in shell("identity", "review", "reject", second["id"])
    assert json.loads(shell("identity", "review", "--json")) == []
    assert "decided already" in shell("identity", "review", "accept", first["id"], expect=1)
    for pair in ("zz", first["id"].split(".")[0]):
        for verb in ("show", "accept", "reject"):
            assert "no such pair" in shell("identity", "review", verb, pair, expect=1)
    core.weight = SURE
    assert json.loads(shell("match", "run", "--full", "--dry-run", "--json"))["state"] == "rehearsed"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_run_that_ended_early_says_so(
    shell: Shell, core: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(load()) as api:
        key = api.post("/sources", {"name": "shop", "kind": "server"})["write_key"]
        api.ingest(key, [Person(1).shop(), Person(1).newsletter()])

    def fails() -> None:
        raise ValueError("ada@people.example")

    core.meanwhile = fails
    said = shell("match", "run", expect=1)
    assert "the run failed" in said
    assert "people.example" not in said
    looked = threading.Event()

    def breaks_off(_seconds: float) -> None:
        looked.set()
        raise KeyboardInterrupt

    core.meanwhile = looked.wait
    monkeypatch.setattr(time, "sleep", breaks_off)
    assert "a running server goes on" in shell("match", "run", expect=1)
    monkeypatch.undo()


def test_what_the_rules_keep_apart_and_what_grew_is_listed_too(caller: Caller) -> None:
    for number in (1, 2, 3):
        caller.send({"type": "identify", "userId": f"account-{number}", "anonymousId": "shared"})
    caller.send(*({"type": "identify", "userId": "grown", "anonymousId": f"browser-{n}"} for n in range(100)))
    aside = waiting(caller, f"{QUEUE}?kind=set_aside")
    assert [(sorted(one["types"]), one["reason"]) for one in aside] == [
        (["anonymous_id", "user_id"], "unique:user_id")
    ] * 2
    (grown,) = waiting(caller, f"{QUEUE}?kind=large")
    assert grown == {"kind": "large", "profile": profile(caller, "user_id", "grown"), "identities": 101}
    first = caller.api("GET", f"{QUEUE}?kind=set_aside&limit=1")
    then = caller.api("GET", f"{QUEUE}?kind=set_aside&limit=1&cursor={first['next']}")
    assert [*first["items"], *then["items"]] == aside
    assert {entry.object["kind"] for entry in entries(caller, action="identity.review")} == {
        "set_aside",
        "large",
    }
    for shop in (aside[0]["identities"], [grown["profile"]]):
        assert not any("account" in one or "browser" in one for one in shop)
    restrain = {"purpose": "identity_resolution", "state": "objected"}
    who = {"type": "user_id", "value": "grown"}
    caller.api("POST", "/consents", {"identifiers": [who], **restrain})
    assert waiting(caller, f"{QUEUE}?kind=large") == []
    caller.api("GET", f"{QUEUE}?kind=everything", expect=400)
