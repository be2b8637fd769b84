"""Portraits, reveals and changes of links obey the policies on ``controller``, on both stores."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller

from cdp.clock import DAY, FixedClock
from cdp.portrait import reveal as revealing

EMAIL = "ann.nobody@people.example"
MATCHING, QUALITY, REVIEW = "identity_resolution", "data_quality", "compliance_review"
TRAITS = {"email": EMAIL, "country": "DE", "plan": "gold", "value_tier": "high", "first_name": "Ann"}
ASKED = {"fields": ["email"], "purpose": QUALITY, "reason": "customer_request"}


def identify(user: str, **traits: Any) -> dict[str, Any]:
    return {"type": "identify", "messageId": f"i-{user}-{len(traits)}", "userId": user, "traits": traits}


def consent(kind: str, value: str, purpose: str, state: str) -> dict[str, Any]:
    return {"identifiers": [{"type": kind, "value": value}], "purpose": purpose, "state": state}


@pytest.fixture
def ann(caller: Caller) -> str:
    """The id of somebody of whom several things are known."""
    order = {"type": "track", "event": "Order Completed", "messageId": "o", "userId": "ann"}
    caller.send(identify("ann", **TRAITS), {**order, "properties": {"revenue": 42.5}})
    found: str = caller.api("POST", "/profiles/lookup", user("ann"), purpose="rights")["id"]
    return found


def user(name: str) -> dict[str, str]:
    return {"type": "user_id", "value": name}


def explained(caller: Caller, profile: str, purpose: str, *fields: str) -> Any:
    asked = {"profile": profile, "destination": "controller", "purpose": purpose, "fields": fields}
    return caller.api("POST", "/policies/explain", asked, purpose=REVIEW)


def entries(caller: Caller, action: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = caller.api("GET", f"/audit?action={action}")["items"]
    return found


def graphql(caller: Caller, query: str, purpose: str, **variables: Any) -> Any:
    headers = {"Authorization": f"Bearer {caller.operator_key}", "CDP-Purpose": purpose}
    return caller.http.post("/graphql", json={"query": query, "variables": variables}, headers=headers).json()


def test_a_portrait_shows_what_the_explanation_says(caller: Caller, ann: str) -> None:
    for purpose in (MATCHING, QUALITY, REVIEW, "rights"):
        said = explained(caller, ann, purpose, *TRAITS)["fields"]
        kept = {one["field"] for one in said if one["transform"] != "drop"}
        found = caller.api("GET", f"/profiles/{ann}", purpose=purpose)
        assert found["traits"].keys() == kept, purpose
        assert set(found["masked_fields"]) == kept & {"email", "first_name"}
    query = "query($id: ID!) {profile(id: $id) {traits maskedFields \
        events {edges {node {type name properties maskedFields}}}}}"
    seen = graphql(caller, query, MATCHING, id=ann)["data"]["profile"]
    assert (seen["traits"], seen["maskedFields"]) == (
        {"country": "DE", "email": None, "first_name": None},
        ["email", "first_name"],
    )
    nodes = {edge["node"]["type"]: edge["node"] for edge in seen["events"]["edges"]}
    assert nodes["track"] == {"type": "track", "name": None, "properties": {}, "maskedFields": ["*"]}
    assert nodes["identify"]["name"] == "identify"
    events = caller.api("GET", f"/profiles/{ann}/events", purpose=MATCHING)["items"]
    assert {(event["name"], str(event["properties"])) for event in events} == {
        (None, "{}"),
        ("identify", "{}"),
    }
    reviewed = caller.api("GET", f"/profiles/{ann}/events", purpose=REVIEW)["items"]
    assert {"revenue": 42.5} in [event["properties"] for event in reviewed]


def test_that_somebody_is_in_a_segment_tells_what_it_reads(caller: Caller) -> None:
    order = {"type": "track", "event": "Order Completed", "messageId": "o", "userId": "ann"}
    caller.send(identify("ann", **TRAITS), order, wait=True)
    caller.api("PUT", "/segments/buyers", {"where": {"event": "Order Completed"}})
    query = '{profiles(filter: {segment: "buyers"}) {edges {node {id segments}}}}'
    for purpose, shown in ((MATCHING, []), (QUALITY, ["buyers"])):
        found = caller.api("POST", "/profiles/lookup", user("ann"), purpose=purpose)
        assert found["segments"] == shown, purpose
        asked = {"profile": found["id"], "destination": "controller", "purpose": purpose, "segment": "buyers"}
        said = caller.api("POST", "/policies/explain", asked, purpose=REVIEW)
        assert said["reason"] == ("permitted" if shown else "input_not_permitted")
        listed = graphql(caller, query, purpose)
        if shown:
            assert listed["data"]["profiles"]["edges"] == [{"node": {"id": found["id"], "segments": shown}}]
        else:
            assert "purchase_history" in listed["errors"][0]["message"]


def test_a_controller_that_is_switched_off_shows_nobody_and_counts_nobody(caller: Caller, ann: str) -> None:
    officer = caller.officer("first")
    switch, why = "/destinations/controller/switch", {"reason": "suspected_breach"}
    where = {"where": {"trait": "country", "op": "eq", "value": "DE"}}
    caller.api("POST", switch, {"enabled": False, **why}, key=officer)
    refused = [
        caller.api("POST", "/profiles/lookup", user("ann"), purpose=QUALITY, expect=403),
        *(
            caller.api("GET", f"/profiles/{ann}{part}", purpose="rights", expect=403)
            for part in ("", "/events", "/identifiers", "/links", "/uses")
        ),
        caller.api("POST", f"/profiles/{ann}/reveal", ASKED, expect=403),
        caller.api("POST", f"/profiles/{ann}/split", {"dry_run": True}, expect=403),
        caller.api("POST", "/segments/preview", where, expect=403),
    ]
    assert all("controller is switched off" in problem["detail"] for problem in refused)
    listed = graphql(caller, "{profiles {totalCount}}", REVIEW)
    assert listed["errors"][0]["extensions"]["code"] == "not-permitted"
    assert explained(caller, ann, QUALITY, "country")["reason"] == "destination_off"
    for action in ("profile.lookup", "profile.read", "profile.reveal", "profile.list", "identity.split"):
        assert entries(caller, action)[0]["object"]["refused"] == "destination_off", action
    caller.api("POST", switch, {"enabled": True, **why}, key=officer)
    assert caller.api("GET", f"/profiles/{ann}", purpose=QUALITY)["traits"]["country"] == "DE"


def test_a_reveal_opens_what_is_permitted_and_says_why_the_rest_is_absent(
    caller: Caller, ann: str, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = {**ASKED, "fields": ["email", "value_tier", "phone", "user_id", "email"]}
    found = caller.api("POST", f"/profiles/{ann}/reveal", asked)
    assert found["fields"] == {"email": EMAIL, "user_id": "ann"}
    assert found["withheld"] == {"value_tier": "not_permitted", "phone": "not_known"}
    assert (found["id"], found["purpose"]) == (ann, QUALITY)
    words = explained(caller, ann, QUALITY, "email", "value_tier", "phone", "user_id")["fields"]
    assert found["transforms"] == {one["field"]: one["transform"] for one in words}
    (entry,) = entries(caller, "profile.reveal")
    assert (entry["index"], entry["purpose"], entry["destination"]) == (
        found["audit_index"], QUALITY, "controller"
    )  # fmt: skip
    assert entry["object"] == {
        "bundle": found["bundle"],
        "fields": "email=clear,value_tier=drop,phone=clear,user_id=clear",
        "reason": "customer_request",
    }
    uses = caller.api("GET", f"/profiles/{ann}/uses", purpose="rights")["items"]
    assert "profile.reveal" in {use["action"] for use in uses}
    assert EMAIL not in str(uses) + "".join(capfd.readouterr())


def test_a_reveal_is_refused_in_words_that_repeat_nothing(
    caller: Caller, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, secret = f"/profiles/{ann}/reveal", "Mrs-Secret"
    mistakes: list[dict[str, object]] = [
        {"fields": []}, {"fields": [secret]}, {"fields": ["email"] + [f"x{n}" for n in range(60)]},
        {"reason": "x" * 501}, {"reason": " "}, {"purpose": ""},
    ]  # fmt: skip
    for wrong in mistakes:
        assert secret not in str(caller.api("POST", path, {**ASKED, **wrong}, expect=400))
    assert secret not in str(caller.api("POST", path, {**ASKED, "purpose": secret}, expect=400))
    caller.api("POST", path, {**ASKED, "purpose": "marketing.communications.email"}, expect=403)
    for roles, purposes, status in (
        (["marketer"], ["*"], 403), (["officer"], [REVIEW], 403), (["steward"], [QUALITY], 200),
    ):  # fmt: skip
        made = caller.api("POST", "/keys", {"name": roles[0], "roles": roles, "purposes": purposes})
        caller.api("POST", path, ASKED, key=made["key"], expect=status)
    caller.api("POST", "/profiles/p_nonsense/reveal", ASKED, expect=404)
    caller.api("POST", "/consents", consent("user_id", "ann", QUALITY, "restricted"))
    assert "restrained" in caller.api("POST", path, ASKED, expect=403)["detail"]
    denied = entries(caller, "profile.reveal")[0]
    assert (denied["outcome"], denied["object"]) == (
        "denied", {"fields": "email", "reason": "customer_request", "refused": "restricted"}
    )  # fmt: skip
    caller.api("POST", path, {**ASKED, "reason": f"{secret} rang"}, expect=403)
    assert entries(caller, "profile.reveal")[0]["object"]["reason"].startswith("text:")
    assert secret not in str(entries(caller, "profile.reveal"))

    def fails(*_given: object) -> None:
        raise OSError(secret)

    monkeypatch.setattr(caller.services.committer, "_append", fails)
    headers = {"Authorization": f"Bearer {caller.operator_key}"}
    answer = caller.http.post(f"/api/v1{path}", json={**ASKED, "purpose": REVIEW}, headers=headers)
    assert answer.status_code >= 500
    assert EMAIL not in answer.text, "what is not on record is not revealed"


def test_a_key_has_so_many_reveals_an_hour(
    caller: Caller, clock: FixedClock, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revealing, "PEOPLE_AN_HOUR", 2)
    path = f"/profiles/{ann}/reveal"
    for status in (200, 200, 429, 429):
        caller.api("POST", path, ASKED, expect=status)
    assert entries(caller, "profile.reveal")[0]["object"]["refused"] == "too_many_revealed"
    caller.api("POST", path, ASKED, key=caller.officer("another"))
    clock.advance(DAY // 24 + 1)
    caller.api("POST", path, ASKED)


def test_links_are_changed_for_the_purpose_that_the_steward_states(caller: Caller, ann: str) -> None:
    members = caller.api("GET", f"/profiles/{ann}/identifiers", purpose=QUALITY)["items"]
    email = next(item["id"] for item in members if item["type"] == "email")
    path = f"/profiles/{email}/split"
    keys = {}
    for name, purposes in {"one": [MATCHING], "two": [MATCHING, REVIEW], "usual": [REVIEW, QUALITY]}.items():
        body = {"name": name, "roles": ["steward"], "purposes": purposes}
        keys[name] = caller.api("POST", "/keys", body)["key"]
    caller.api("POST", path, key=keys["one"])
    caller.api("POST", path, key=keys["two"], expect=400)
    caller.api("POST", path, key=keys["two"], purpose=REVIEW)
    caller.api("POST", path, key=keys["two"], purpose=QUALITY, expect=403)
    caller.api("POST", path, key=keys["usual"])
    caller.api("POST", path, purpose="marketing.communications.email", expect=403)
    shown = [(one["outcome"], one["purpose"]) for one in entries(caller, "identity.split")]
    assert shown == [
        ("denied", "marketing.communications.email"), ("allowed", QUALITY), ("allowed", REVIEW),
        ("allowed", MATCHING),
    ]  # fmt: skip


def test_who_objects_to_matching_is_matched_by_nobody_s_guess_and_still_found_by_what_is_stated(
    caller: Caller, ann: str
) -> None:
    """A restriction stops portraits and merges for it; what a source states together stays together.

    Otherwise a refusal that comes by the new telephone number would not reach the person.
    """
    caller.send({"type": "track", "event": "Seen", "messageId": "s", "anonymousId": "browser"})
    device = {"type": "anonymous_id", "value": "browser"}
    seen = caller.api("POST", "/profiles/lookup", device, purpose="rights")["id"]
    caller.api("POST", "/consents", consent("user_id", "ann", MATCHING, "restricted"))
    caller.api("GET", f"/profiles/{ann}", purpose=MATCHING, expect=403)
    for purpose in (MATCHING, QUALITY):
        for dry_run in (True, False):
            body = {"ids": [ann, seen], "dry_run": dry_run}
            problem = caller.api("POST", "/profiles/merge", body, purpose=purpose, expect=403)
            assert "restrained" in problem["detail"]
    assert entries(caller, "identity.merge")[0]["object"] == {"refused": "restricted"}
    phone = {"type": "phone", "value": "+442079460958"}
    caller.send(identify("ann", phone=phone["value"]))
    assert caller.api("POST", "/profiles/lookup", phone, purpose="rights")["id"] == ann
    mail = "marketing.communications.email"
    caller.api("POST", "/consents", consent("phone", phone["value"], mail, "withdrawn"))
    held = caller.api("GET", f"/consents?profile={ann}&limit=500", purpose="rights")["items"]
    states = {one["purpose"]: one["state"] for one in held}
    assert states[mail] == "withdrawn"
    caller.api("POST", "/profiles/merge", {"ids": [ann, seen], "dry_run": False}, purpose="rights")
    assert caller.api("POST", "/profiles/lookup", device, purpose="rights")["id"] == ann
