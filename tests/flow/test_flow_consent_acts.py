"""Acts over HTTP: whose word counts, what an officer lifts, and the receipt of it all."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import msgspec
import pytest
from caller import Caller

from cdp.audit import AuditFilter
from cdp.clock import DAY, SECOND, FixedClock, rfc3339
from cdp.consent import RecordState, Statement, verify_receipt
from cdp.errors import IntegrityError, NotFoundError

EMAIL = "marketing.communications.email"


def consent(state: str, user: str = "ann", **more: Any) -> dict[str, Any]:
    identifiers = [{"type": "user_id", "value": user}]
    return {"identifiers": identifiers, "purpose": EMAIL, "state": state, **more}


def state(caller: Caller, user: str = "ann") -> dict[str, Any]:
    profile = caller.lookup("user_id", user)["id"]
    found = caller.api("GET", f"/profiles/{profile}/consents", purpose="compliance_review")["items"]
    return next(item for item in found if item["purpose"] == EMAIL)


def post(caller: Caller, body: dict[str, Any], *, key: str = "", expect: int = 201) -> dict[str, Any]:
    answer = caller.api("POST", "/consents", body, key=key, expect=expect)
    assert isinstance(answer, dict)
    return answer


# -- signed user ids --------------------------------------------------------------------------------


def signature(secret: str, user: str) -> str:
    return hmac.new(secret.encode(), user.encode(), hashlib.sha256).hexdigest()


def preference(message: str, user: str, agreed: bool, signed: object = None) -> dict[str, Any]:  # noqa: FBT001  # reads as said
    said: dict[str, Any] = {"consent": {"categoryPreferences": {"Email": agreed}}}
    if signed is not None:
        said["userIdSignature"] = signed
    return {
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "messageId": message,
        "userId": user,
        "anonymousId": "laptop",
        "context": said,
    }


def test_a_browser_speaks_for_a_person_whose_id_is_signed(caller: Caller, clock: FixedClock) -> None:
    caller.write_key("browser")
    secret = caller.api("POST", "/sources/test-browser/secret")["secret"]
    caller.send(preference("m1", "ann", agreed=False), kind="server")
    for turn, wrong in enumerate(
        [None, "", 7, "0" * 64, signature(secret, "bob"), signature("", "ann"), signature(secret, "Ann")]
    ):
        clock.advance(SECOND)
        caller.send(preference(f"wrong{turn}", "ann", agreed=True, signed=wrong), kind="browser")
        assert state(caller)["state"] == "withdrawn"
    clock.advance(SECOND)
    caller.send(preference("m2", "ann", agreed=True, signed=signature(secret, "ann")), kind="browser")
    assert state(caller)["state"] == "granted"
    assert counted(caller, "signatures_wrong") == 6
    with caller.services.store.reading() as connection:
        number = caller.services.identity.find(connection, "user_id", "ann")
        assert number is not None
        granted = [r for r in caller.services.ledger.records_of(connection, [number]) if r.state == "granted"]
    assert [(r.verified, r.source_kind) for r in granted] == [(True, "browser")]


def test_a_new_secret_ends_the_old_one(caller: Caller) -> None:
    caller.write_key("browser")
    old = caller.api("POST", "/sources/test-browser/secret")["secret"]
    new = caller.api("POST", "/sources/test-browser/secret")["secret"]
    assert old != new
    key = caller.write_key("browser")
    post(caller, consent("withdrawn"))
    post(caller, consent("granted", user_id_signature=signature(old, "ann")), key=key, expect=400)
    assert state(caller)["state"] == "withdrawn"
    two = [{"type": "user_id", "value": user} for user in ("ann", "eve")]
    signed_by_eve = {"identifiers": two, "user_id_signature": signature(new, "eve")}
    post(caller, consent("granted") | signed_by_eve, key=key, expect=400)
    assert state(caller)["state"] == "withdrawn", "a signature says of one user who it is"
    caller.services.clock.advance(SECOND)  # type: ignore[attr-defined]  # a fixed clock
    answer = post(caller, consent("granted", user_id_signature=signature(new, "ann")), key=key)
    assert answer == {"purpose": EMAIL, "recorded": True}, "a browser learns nothing"
    assert state(caller)["state"] == "granted"
    listed = caller.api("GET", "/sources")["items"]
    assert {source["name"]: source["signs_user_ids"] for source in listed} == {"test-browser": True}
    caller.write_key("server")
    caller.api("POST", "/sources/test-server/secret", expect=400)


def counted(caller: Caller, name: str) -> int:
    services = caller.services
    with services.store.reading() as connection:
        entries = services.audit.search(connection, AuditFilter(action="ingest.batch"))
    return sum(int(entry.counts.get(name, 0)) for entry in entries)


# -- restrictions -----------------------------------------------------------------------------------


def test_an_officer_lifts_a_restriction_once_the_person_was_told(caller: Caller, clock: FixedClock) -> None:
    post(caller, consent("granted"))
    clock.advance(SECOND)
    assert post(caller, consent("restricted"))["state"] == "restricted"
    clock.advance(SECOND)
    assert post(caller, consent("granted"))["state"] == "restricted"
    key = caller.write_key("server")
    post(caller, consent("restriction_lifted", event_time=rfc3339(clock.now())), key=key, expect=403)
    post(caller, consent("restriction_lifted"), expect=400)
    post(caller, consent("restriction_lifted", event_time=rfc3339(clock.now() + DAY)), expect=400)
    told = rfc3339(clock.now())
    lifted = post(caller, consent("restriction_lifted", event_time=told, method="letter"))
    assert (lifted["state"], lifted["reason"]) == ("granted", "granted")
    assert counted_actions(caller, "consent.record") == 5, "four were recorded, one refused"


def counted_actions(caller: Caller, action: str) -> int:
    services = caller.services
    with services.store.reading() as connection:
        return services.audit.count(connection, AuditFilter(action=action))


# -- receipts ---------------------------------------------------------------------------------------


def test_every_change_has_a_receipt_that_verifies_offline(caller: Caller) -> None:
    granted = post(caller, consent("granted", method="form"))
    jwk = caller.http.get("/api/v1/consents/receipts/key").json()
    key = caller.services.receipts.public_key
    assert jwk["kty"] == "OKP"
    data = caller.http.get(
        granted["receipt"], headers={"Authorization": f"Bearer {caller.operator_key}"}
    ).content
    said = verify_receipt(data, key)
    assert (said["record_id"], said["event"]["state"]) == (granted["record"], "granted")
    assert said["pii_controllers"] == ["The controller itself"]
    entries = caller.api("GET", "/audit?action=ingest.batch")["items"]
    assert said["audit"]["index"] in {entry["index"] for entry in entries}
    assert b"ann" not in data
    with pytest.raises(IntegrityError):
        verify_receipt(data.replace(b'"granted"', b'"refused"'), key)
    shown = state(caller)
    assert (shown["record"], shown["receipt"]) == (granted["record"], granted["receipt"])
    uses = caller.api("GET", f"/profiles/{granted['profile']}/uses", purpose="rights")["items"]
    assert "consent.receipt" in {entry["action"] for entry in uses}


def test_a_source_gets_the_receipts_of_its_own_word_only(caller: Caller) -> None:
    server, browser = caller.write_key("server"), caller.write_key("browser")
    own = post(caller, consent("granted"), key=server)
    officers = post(caller, consent("granted", user="bob"))
    path = f"/consents/{own['record']}/receipt"
    assert caller.api("GET", path, key=server)["record_id"] == own["record"]
    caller.api("GET", f"/consents/{officers['record']}/receipt", key=server, expect=404)
    caller.api("GET", path, key=browser, expect=403)
    for unknown in ("1", "x", "9" * 19, "1" * 30, "-1", "٣"):
        caller.api("GET", f"/consents/{unknown}/receipt", expect=404)


# -- an act of an identity known by number -----------------------------------------------------------


def test_an_act_is_recorded_without_an_identifier_in_clear(caller: Caller, clock: FixedClock) -> None:
    caller.send(
        {"type": "identify", "messageId": "m1", "userId": "ann", "traits": {"email": "ann@x.example"}}
    )
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, "email", "ann@x.example")
    assert number is not None
    clock.advance(SECOND)

    def act(word: RecordState) -> list[int]:
        said = Statement(
            purpose=EMAIL, state=word, act=True, event_time=clock.now(), method="preference_page"
        )
        return services.acts.record(number, [said], actor="person")

    withdrawn = act("withdrawn")
    assert len(withdrawn) == 2, "a restraint goes to everybody in the profile"
    assert state(caller)["state"] == "withdrawn"
    clock.advance(SECOND)
    granted = act("granted")
    assert len(granted) == 1
    assert state(caller)["state"] == "granted"
    assert act("granted") == [], "the very same act is no news"
    with pytest.raises(NotFoundError):
        services.acts.record(10**9, [])
    receipt = json.loads(services.receipts.issue("key:1", granted[0]))
    assert receipt["pii_processing"]["collection_method"] == "preference_page"


# -- stale ------------------------------------------------------------------------------------------


def test_an_officer_sees_how_many_grants_are_stale(caller: Caller, clock: FixedClock) -> None:
    for user in ("ann", "bob"):
        post(caller, consent("granted", user=user))
    post(caller, consent("granted", user="eve", expires_at=rfc3339(clock.now() + DAY)))
    assert caller.api("GET", "/consents/stale")["items"] == []
    clock.advance(2 * DAY)
    assert caller.api("GET", "/consents/stale")["items"] == [{"purpose": EMAIL, "stale_expired": 1}]
    assert state(caller, "eve")["state"] == "stale"


def test_graphql_shows_the_same(caller: Caller) -> None:
    mutation = """mutation($i: ConsentInput!) {
        recordConsent(input: $i) { purpose state reason since grantedAt record receipt recipients } }"""
    given = {
        "identifiers": [{"type": "user_id", "value": "ann"}], "purpose": EMAIL, "state": "granted",
    }  # fmt: skip
    answer = caller.http.post(
        "/graphql",
        content=msgspec.json.encode({"query": mutation, "variables": {"i": given}}),
        headers={"Authorization": f"Bearer {caller.operator_key}", "Content-Type": "application/json"},
    ).json()
    found = answer["data"]["recordConsent"]
    shown = state(caller)
    names = {"grantedAt": "granted_at"}
    assert found == {name: shown[names.get(name, name)] for name in found}


@pytest.mark.parametrize("word", ["objected", "restricted"])
def test_who_objects_to_segmentation_is_in_no_count(caller: Caller, clock: FixedClock, word: str) -> None:
    messages = [
        {"type": "identify", "messageId": user, "userId": user, "traits": {"country": "Germany"}}
        for user in ("ann", "bob")
    ]
    caller.send(*messages, wait=True)
    body = {"name": "germans", "where": {"all": [{"trait": "country", "op": "eq", "value": "Germany"}]}}
    assert caller.api("POST", "/segments/preview", body)["count"] == 2
    clock.advance(SECOND)
    answer = post(caller, consent(word) | {"purpose": "segmentation"})
    assert answer["state"] == word
    assert caller.api("POST", "/segments/preview", body)["count"] == 1


SHARING = "marketing.advertising.third_party"


def test_an_explicit_act_prevails_over_sec_gpc_where_the_law_allows(
    caller: Caller, clock: FixedClock
) -> None:
    def visit(message: str, device: str) -> None:
        page = {"type": "page", "messageId": message, "userId": "ann", "anonymousId": device, "name": "Home"}
        clock.advance(SECOND)
        caller.http.post(
            "/v1/batch",
            content=msgspec.json.encode({"batch": [page]}),
            auth=(caller.write_key("browser"), ""),
            headers={"Sec-GPC": "1"},
        )

    def agree(**more: str) -> str:
        clock.advance(SECOND)
        answer = post(
            caller, consent("granted", **more) | {"purpose": SHARING}, key=caller.write_key("server")
        )
        assert answer["recorded"]
        return sharing()

    def sharing() -> str:
        profile = caller.lookup("user_id", "ann")["id"]
        found = caller.api("GET", f"/consents?profile={profile}", purpose="compliance_review")["items"]
        return next(str(item["state"]) for item in found if item["purpose"] == SHARING)

    visit("m1", "laptop")
    assert sharing() == "opted_out"
    assert agree() == "opted_out"
    assert agree(event_type="explicit", jurisdiction="CN") == "opted_out"
    assert agree(event_type="explicit", jurisdiction="US-CA") == "granted"
    visit("m2", "laptop")
    assert sharing() == "granted", "the signal that she overruled comes with every request"
    visit("m3", "phone")
    assert sharing() == "opted_out", "another device has not been asked"
