"""Recalls over HTTP: what destinations and officers see of them, and of whose."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import pytest
from caller import Caller
from receiver import Receiver, receiving

from cdp.clock import FixedClock
from cdp.settings import Settings

EMAIL = "marketing.communications.email"
DEFINITION = {"name": "germans", "where": {"all": [{"trait": "country", "op": "eq", "value": "Germany"}]}}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, webhook_loopback=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def deliver(caller: Caller, *names: str) -> str:
    """Have people say yes and be delivered to the mailer; returns the mailer's key."""
    for name in names:
        caller.send(
            {
                "type": "identify",
                "userId": f"user-{name}",
                "traits": {"email": f"{name}@people.example", "country": "Germany"},
            },
            wait=True,
        )
        consent(caller, name, "granted")
    caller.api("PUT", "/segments/germans", DEFINITION)
    export = caller.api("POST", "/exports", {"segment": "germans", "destination": "mailer", "purpose": EMAIL})
    key = caller.destination_key("mailer", EMAIL)
    answer = caller.http.get(
        f"/api/v1/exports/{export['id']}/data", headers={"Authorization": f"Bearer {key}"}
    )
    assert len(answer.content.splitlines()) == len(names)
    return key


def consent(caller: Caller, name: str, state: str) -> None:
    who = [{"type": "user_id", "value": f"user-{name}"}]
    caller.api("POST", "/consents", {"identifiers": who, "purpose": EMAIL, "state": state})


def test_a_withdrawal_reaches_the_webhook_and_is_acknowledged(caller: Caller, receiver: Receiver) -> None:
    key = deliver(caller, "ada", "bea")
    made = caller.api("PUT", "/destinations/mailer/webhook", {"url": receiver.url}, key=key)
    assert made["secret"].startswith("whsec_")
    assert made["public_key"].startswith("whpk_")
    assert "secret" not in caller.api("GET", "/destinations/mailer/webhook", key=key)
    consent(caller, "ada", "withdrawn")
    for _ in range(500):  # until the worker has taken its turns
        counts = caller.api("GET", "/destinations/mailer/recalls")
        if counts["sent"] == {"messages": 1, "people": 1}:
            break
        time.sleep(0.02)
    assert list(receiver.removals().values()) == ["unlist"]
    (waiting,) = caller.api("GET", "/destinations/mailer/recalls", key=key)["items"]
    assert waiting["id"] == receiver.ids()[0]
    assert {one["profile_ref"] for one in waiting["data"]["removals"]} == set(receiver.removals())
    body = {"ids": [waiting["id"]]}
    assert caller.api("POST", "/destinations/mailer/acknowledgements", body, key=key) == {"acknowledged": 1}
    assert caller.api("GET", "/destinations/mailer/recalls", key=key)["items"] == []
    counts = caller.api("GET", "/destinations/mailer/recalls")
    assert (counts["acknowledged"]["messages"], counts["late"]["messages"]) == (1, 0)


def test_what_is_late_is_shown(caller: Caller, clock: FixedClock) -> None:
    deliver(caller, "ada")
    assert caller.api("POST", "/destinations/mailer/recalls") == {"recalled": 1}
    clock.advance(25 * 3600 * 1_000_000)
    counts = caller.api("GET", "/destinations/mailer/recalls")
    assert counts["late"] == {"messages": 1, "people": 1}
    assert counts["oldest_late"] is not None


def test_a_destination_sees_and_changes_its_own_only(caller: Caller, receiver: Receiver) -> None:
    deliver(caller, "ada")
    crm = caller.destination_key("crm", "personalisation")
    url = {"url": receiver.url}
    for method, path, body in (
        ("GET", "/destinations/mailer/recalls", None),
        ("GET", "/destinations/mailer/webhook", None),
        ("PUT", "/destinations/mailer/webhook", url),
        ("POST", "/destinations/mailer/webhook/rotate", None),
        ("DELETE", "/destinations/mailer/webhook", None),
        ("POST", "/destinations/mailer/acknowledgements", {"ids": ["msg_1"]}),
        ("GET", "/destinations/nowhere/recalls", None),
    ):
        caller.api(method, path, body, key=crm, expect=404)
    caller.api("POST", "/destinations/mailer/recalls", key=crm, expect=403)
    caller.api("POST", "/destinations/crm/acknowledgements", {"ids": []}, key=crm, expect=400)
    caller.api("POST", "/destinations/crm/acknowledgements", {"ids": ["msg_1"]}, key=crm, expect=404)
    caller.api("GET", "/destinations/crm/webhook", key=crm, expect=404)
    caller.api("PUT", "/destinations/crm/webhook", {"url": "https://u:p@x.example"}, key=crm, expect=400)
    assert caller.api("PUT", "/destinations/crm/webhook", url, key=crm)["enabled"]
    assert caller.api("POST", "/destinations/crm/webhook/rotate", key=crm)["secret"].startswith("whsec_")
    caller.api("DELETE", "/destinations/crm/webhook", key=crm)


def test_a_feed_is_read_by_the_segment_s_id_and_a_proof_by_reference(caller: Caller) -> None:
    key = deliver(caller, "ada", "bea")
    export = caller.api("GET", "/exports", key=key)["items"][0]
    assert export["segment"].startswith("s_")
    path = f"/destinations/mailer/segments/{export['segment']}/changes?purpose={EMAIL}"
    first = caller.api("GET", f"{path}&limit=1", key=key)
    assert ([one["op"] for one in first["changes"]], first["has_more"]) == (["add"], True)
    rest = caller.api("GET", f"{path}&cursor={first['cursor']}", key=key)
    assert ([one["op"] for one in rest["changes"]], rest["has_more"]) == (["add"], False)
    caller.api("GET", f"{path}&cursor=nonsense", key=key, expect=400)
    caller.api("GET", path, expect=403)
    consent(caller, "ada", "withdrawn")
    told = caller.api("GET", f"{path}&cursor={rest['cursor']}", key=key)
    (gone,) = told["changes"]
    assert set(gone) == {"op", "profile_ref", "reason"}
    proof = f"/exports/{export['id']}/proof"
    said = caller.api("GET", f"{proof}?profile_ref={gone['profile_ref']}", key=key)
    assert said["present"] is True
    assert said["proofs"][0]["manifest"]["root"] == export["manifest_root"]
    profile = caller.lookup("user_id", "user-ada")["id"]
    caller.api("GET", f"{proof}?profile={profile}", expect=400)  # an officer says for what
    assert caller.api("GET", f"{proof}?profile={profile}", purpose="rights")["present"] is True
    caller.api("GET", f"{proof}?profile={profile}", key=key, expect=400)
    caller.api("GET", proof, key=key, expect=400)
