"""Recipients are told (GDPR Art. 19): those that hold the person. A request says who was, and who acted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from caller import Caller
from rights_world import EMAIL, ended, introduce, opened, read, standing, step

from cdp.clock import SECOND, FixedClock

SEGMENT = {"where": {"trait": "country", "op": "eq", "value": "GB"}}
NAMES = ("ada", "bea")


@pytest.fixture
def held(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> Caller:
    """Two people whom the mailer holds, with the first names that it was given."""
    monkeypatch.setattr(caller.services.outbox, "issue", lambda: 0)  # not by the schedule: by the request
    for name in NAMES:
        address = introduce(caller, name, country="GB", first_name=name.title())
        for kind, value in (("user_id", name), ("email", address)):
            said = {"identifiers": [{"type": kind, "value": value}], "purpose": EMAIL, "state": "granted"}
            caller.api("POST", "/consents", said)
    caller.api("PUT", "/segments/britons", SEGMENT)
    rows(caller)
    monkeypatch.undo()
    return caller


def rows(caller: Caller) -> list[dict[str, Any]]:
    asked = {"segment": "britons", "destination": "mailer", "purpose": EMAIL, "format": "jsonl"}
    export = caller.api("POST", "/exports", asked)["id"]
    headers = {"Authorization": f"Bearer {caller.destination_key('mailer', EMAIL)}"}
    answer = caller.http.get(f"/api/v1/exports/{export}/data", headers=headers)
    assert answer.status_code == 200, answer.text
    return [msgspec.json.decode(line) for line in answer.content.splitlines()]


def messages(caller: Caller) -> list[dict[str, Any]]:
    key = caller.destination_key("mailer", EMAIL)
    found: list[dict[str, Any]] = caller.api("GET", "/destinations/mailer/recalls", key=key)["items"]
    return found


@pytest.mark.parametrize(
    ("kind", "more"), [("restriction", {}), ("objection", {}), ("objection", {"purpose": EMAIL})]
)
def test_who_holds_the_person_is_told_and_what_they_acknowledge_is_seen(
    held: Caller, clock: FixedClock, kind: str, more: dict[str, str]
) -> None:
    clock.advance(SECOND)
    made = opened(held, "ada@people.example", kind, **more)
    found = ended(held, made["id"])
    assert found["result"].items() >= {"recipients": 1, "messages": 1}.items()
    (message,) = messages(held)
    assert message["type"] == "recall.remove"
    assert [one["reason"] for one in message["data"]["removals"]] == ["unlist"]
    told = {"destination": "mailer", "purpose": EMAIL, "message": "recall.remove", "acknowledged": False}
    assert found["told"] == [told]
    key = held.destination_key("mailer", EMAIL)
    held.api("POST", "/destinations/mailer/acknowledgements", {"ids": [message["id"]]}, key=key)
    assert read(held, made["id"])["told"] == [{**told, "acknowledged": True}]


def test_an_objection_to_one_purpose_leaves_the_others(held: Caller, clock: FixedClock) -> None:
    clock.advance(SECOND)
    before = standing(held, "ada", "segmentation")
    made = opened(held, "ada@people.example", "objection", purpose=EMAIL)
    assert made["purpose"] == EMAIL
    assert (standing(held, "ada"), standing(held, "ada", "segmentation")) == ("objected", before)
    other = opened(held, "bea@people.example", "objection")
    assert other["purpose"] is None
    assert standing(held, "bea", "segmentation") == "objected"
    for wrong in ({"kind": "objection", "purpose": "rights"}, {"kind": "restriction", "purpose": EMAIL}):
        said = {"identifier": {"type": "email", "value": "ada@people.example"}, **wrong}
        held.api("POST", "/rights/requests", said, expect=400)


def test_only_who_holds_the_person_is_told(held: Caller, clock: FixedClock) -> None:
    introduce(held, "cai", country="GB")
    clock.advance(SECOND)
    for kind in ("restriction", "objection"):
        found = ended(held, opened(held, "cai@people.example", kind)["id"])
        assert (found["told"], found["result"]["messages"]) == ([], 0)
    assert messages(held) == []


def test_who_objected_under_californian_law_is_not_asked_again_for_a_year(caller: Caller) -> None:
    introduce(caller, "dot", country="US-CA")
    found = ended(caller, opened(caller, "dot@people.example", "objection")["id"])
    assert found["result"]["no_asking_until"] == "2027-03-01T22:59:59Z"
    introduce(caller, "eve", country="GB")
    found = ended(caller, opened(caller, "eve@people.example", "objection")["id"])
    assert "no_asking_until" not in found["result"]


def test_who_was_given_what_is_corrected_is_told_to_fetch_it_again(held: Caller, clock: FixedClock) -> None:
    assert {row["first_name"] for row in rows(held)} == {"Ada", "Bea"}
    clock.advance(SECOND)
    made = opened(held, "ada@people.example", "rectification")["id"]
    assert read(held, made)["state"] == "in_progress"
    step(held, made, "corrections", {"corrections": [{"trait": "first_name", "value": "Augusta"}]})
    found = ended(held, made)
    assert found["result"] == {"corrected": 1, "recipients": 1, "messages": 1}
    assert [one["message"] for one in found["told"]] == ["recall.correct"]
    (message,) = messages(held)
    (correction,) = message["data"]["corrections"]
    assert correction.keys() == {"profile_ref"}
    again = rows(held)
    assert {row["first_name"] for row in again} == {"Augusta", "Bea"}
    (row,) = [row for row in again if row["profile_ref"] == correction["profile_ref"]]
    assert row["first_name"] == "Augusta"


def test_who_was_not_given_what_is_corrected_is_not_told(held: Caller, clock: FixedClock) -> None:
    clock.advance(SECOND)
    made = opened(held, "ada@people.example", "rectification")["id"]
    step(held, made, "corrections", {"corrections": [{"trait": "plan", "value": "free"}]})
    found = ended(held, made)
    assert (found["told"], found["result"]["messages"]) == ([], 0)
    assert messages(held) == []
