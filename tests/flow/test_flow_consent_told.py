"""A consent that is told: who hears that it is recorded, and who may not learn that somebody was erased."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import msgspec
import pytest
from caller import Caller
from recovery_world import backed_up, erase, identify, lost, restored, running

from cdp.api.request import read_within
from cdp.api.rest import ingest
from cdp.clock import DAY, SECOND, FixedClock
from cdp.settings import Settings

EMAIL = "marketing.communications.email"
SHARING = "marketing.advertising.third_party"
ANN, BOB = ("user_id", "ann"), ("user_id", "bob")
MUTATION = "mutation($i: ConsentInput!) { recordConsent(input: $i) { purpose recorded record } }"


def consent(*identifiers: tuple[str, str], state: str = "granted", **more: Any) -> dict[str, Any]:
    named = [{"type": kind, "value": value} for kind, value in identifiers]
    return {"identifiers": named, "purpose": EMAIL, "state": state, **more}


def graphql(caller: Caller, query: str, variables: dict[str, Any], key: str = "", **headers: str) -> Any:
    answer = caller.http.post(
        "/graphql",
        content=msgspec.json.encode({"query": query, "variables": variables}),
        headers={"Authorization": f"Bearer {key or caller.operator_key}", **headers},
    )
    return answer.json()


def events(caller: Caller) -> int:
    """How many events were received, whatever became of them."""
    entries = caller.api("GET", "/audit?action=ingest.batch&limit=100")["items"]
    outcomes = ("stored", "duplicates", "quarantined", "suppressed")
    return sum(entry["entry"]["counts"][name] for entry in entries for name in outcomes)


# -- who was erased ---------------------------------------------------------------------------------------


def test_nothing_is_acknowledged_of_an_erased_person(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as before:
        backed_up(before, tmp_path / "backup")
        identify(before, ANN[1])
        asked = before.api("POST", "/consents", consent(ANN, confirm="double_opt_in"))
        erase(before, ANN[1])
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, before) as caller:
        caller._write_keys = {}
        refused = caller.api("POST", "/consents", consent(ANN), expect=409)
        assert refused["type"] == "/problems/conflict"
        (error,) = graphql(caller, MUTATION, {"i": consent(ANN)})["errors"]
        assert error["extensions"]["code"] == "conflict"
        server = caller.api("POST", "/sources", {"name": "after", "kind": "server"})["write_key"]
        assert caller.api("POST", "/consents", consent(ANN), key=server) == {
            "purpose": EMAIL, "recorded": False,
        }  # fmt: skip
        shown = graphql(caller, MUTATION, {"i": consent(ANN)}, key=server)["data"]["recordConsent"]
        assert shown == {"purpose": EMAIL, "recorded": False, "record": None}
        rows = [[1, {"identifiers": [{"type": "user_id", "value": ANN[1]}], "purpose": EMAIL,
                     "state": "withdrawn"}]]  # fmt: skip
        archive = caller.api("POST", "/sources", {"name": "archive", "kind": "import"})["write_key"]
        done = caller.api("POST", "/consents/import", {"file": "0" * 64, "rows": rows}, key=archive)
        assert (done["suppressed"], done["changed"], done["unchanged"]) == (1, 0, 0)
        browser = caller.api("POST", "/sources", {"name": "page", "kind": "browser"})["write_key"]
        answers = [
            caller.api("POST", "/consents", consent(who, ("anonymous_id", "b1")), key=browser)
            for who in (ANN, BOB)
        ]
        assert answers == [{"purpose": EMAIL, "accepted": True}] * 2, "anybody may hold this key"
        for told in (ANN, BOB):
            shown = graphql(caller, MUTATION, {"i": consent(told, ("anonymous_id", "b1"))}, key=browser)
            assert shown["data"]["recordConsent"]["recorded"] is None
        path = asked["confirmation"]["url"].removeprefix("http://127.0.0.1:8000")
        for _ in range(2):
            page = caller.http.post(path)
            assert (page.status_code, "This link does not work" in page.text) == (404, True)


# -- bound to nobody --------------------------------------------------------------------------------------


def test_a_grant_that_nobody_can_be_held_to_is_refused_and_leaves_nothing(caller: Caller) -> None:
    browser = caller.write_key("browser")
    refused = caller.api("POST", "/consents", consent(BOB), key=browser, expect=400)
    assert "user_id_signature" in refused["detail"]
    caller.api("POST", "/consents", consent(BOB, user_id_signature="0" * 64), key=browser, expect=400)
    (error,) = graphql(caller, MUTATION, {"i": consent(BOB)}, key=browser)["errors"]
    assert error["extensions"]["code"] == "invalid-input"
    assert events(caller) == 0
    answer = caller.api("POST", "/consents", consent(BOB, state="withdrawn"), key=browser)
    assert answer == {"purpose": EMAIL, "accepted": True}
    assert state(caller, *BOB, EMAIL) == "withdrawn"
    answer = caller.api("POST", "/consents", consent(("anonymous_id", "b1")), key=browser)
    assert answer == {"purpose": EMAIL, "recorded": True}


def test_a_notice_that_nobody_can_have_been_given_is_refused_and_leaves_nothing(caller: Caller) -> None:
    server, device = caller.write_key("server"), ("anonymous_id", "b1")
    given = consent(device, state="informed")
    for key in (server, caller.operator_key, caller.write_key("browser")):
        caller.api("POST", "/consents", given, key=key, expect=400)
    for unheard in ({"notice_id": "unheard-of"}, {"notice_id": "email-news", "notice_version": 99}):
        named = consent(BOB, state="informed", **unheard)
        refused = caller.api("POST", "/consents", named, key=server, expect=400)
        assert "notice" in refused["detail"]
        assert graphql(caller, MUTATION, {"i": _camel(named)}, key=server)["errors"]
    assert events(caller) == 0
    answer = caller.api("POST", "/consents", consent(BOB, device, state="informed"), key=server)
    assert answer["recorded"]
    assert answer["record"]


def _camel(named: dict[str, Any]) -> dict[str, Any]:
    """Return a body as GraphQL spells it."""
    spelt = {"notice_id": "noticeId", "notice_version": "noticeVersion"}
    return {spelt.get(name, name): value for name, value in named.items()}


def state(caller: Caller, kind: str, value: str, purpose: str = SHARING) -> str:
    profile = caller.lookup(kind, value)["id"]
    found = caller.api("GET", f"/profiles/{profile}/consents", purpose="compliance_review")["items"]
    return next(str(item["state"]) for item in found if item["purpose"] == purpose)


# -- quarantined ------------------------------------------------------------------------------------------


def test_what_the_platform_fails_on_is_answered_as_that_and_can_be_replayed(
    caller: Caller, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = caller.api("POST", "/consents", consent(("user_id", "eve"), confirm="double_opt_in"))
    path = asked["confirmation"]["url"].removeprefix("http://127.0.0.1:8000")

    def broken(*_: object) -> None:
        raise ValueError

    with monkeypatch.context() as patch:
        patch.setattr(caller.services.ledger, "append", broken)
        failed = caller.api("POST", "/consents", consent(BOB, state="withdrawn"), expect=503)
        assert "quarantine" in failed["detail"]
        (error,) = graphql(caller, MUTATION, {"i": consent(BOB, state="withdrawn")})["errors"]
        assert error["extensions"] == {"code": "unavailable", "status": 503, "retryAfter": 5}
        assert caller.http.post(path).status_code == 503
    assert len(caller.api("GET", "/quarantine")["items"]) == 3
    clock.advance(SECOND)
    caller.api("POST", "/quarantine/replay", {})
    assert state(caller, *BOB, EMAIL) == "withdrawn"


# -- when it was received ---------------------------------------------------------------------------------


def test_a_call_is_received_when_its_body_has_ended(
    caller: Caller, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = read_within

    async def slow(request: Any, limit: int) -> bytes:
        clock.advance(DAY)
        return await read(request, limit)

    monkeypatch.setattr(ingest, "read_within", slow)
    caller.send({"type": "identify", "messageId": "m1", "userId": "ann"})
    (item,) = caller.api(
        "GET", f"/profiles/{caller.lookup('user_id', 'ann')['id']}/events", purpose="data_quality"
    )["items"]
    assert item["received_at"] == "2026-03-02T12:00:00Z"


def test_a_browsers_key_does_not_wait_for_the_warehouse(caller: Caller) -> None:
    message = {"type": "page", "messageId": "m", "anonymousId": "d"}
    for kind, status in (("browser", 403), ("server", 200)):
        answer = caller.http.post(
            "/v1/batch?wait=warehouse",
            content=msgspec.json.encode({"batch": [message]}),
            auth=(caller.write_key(kind), ""),
        )
        assert answer.status_code == status


# -- Sec-GPC ----------------------------------------------------------------------------------------------

INGEST = "mutation($e: [EventInput!]!) { ingest(events: $e) { success } }"


def test_the_global_privacy_control_counts_on_every_way_in(caller: Caller) -> None:
    browser, server = caller.write_key("browser"), caller.write_key("server")
    control = {"Sec-GPC": "1"}
    page = {"type": "page", "name": "Home", "messageId": "m1"}
    graphql(caller, INGEST, {"e": [{**page, "anonymousId": "b1"}]}, key=browser, **control)
    assert state(caller, "anonymous_id", "b1") == "opted_out"
    graphql(caller, INGEST, {"e": [{**page, "anonymousId": "b2"}]}, key=server, **control)
    assert state(caller, "anonymous_id", "b2") == "missing", "a server's own header is nobody's"
    graphql(caller, MUTATION, {"i": consent(("anonymous_id", "b3"))}, key=browser, **control)
    assert state(caller, "anonymous_id", "b3") == "opted_out"
    answer = caller.http.post(
        "/api/v1/consents",
        content=msgspec.json.encode(consent(("anonymous_id", "b4"))),
        headers={"Authorization": f"Bearer {browser}", **control},
    )
    assert answer.status_code == 201
    assert state(caller, "anonymous_id", "b4") == "opted_out"
    assert state(caller, "anonymous_id", "b4", EMAIL) == "granted"


# -- shared devices ---------------------------------------------------------------------------------------


def test_a_signed_grant_on_a_shared_device_binds_its_signer_only(caller: Caller, clock: FixedClock) -> None:
    browser = caller.write_key("browser")
    secret = caller.api("POST", "/sources/test-browser/secret")["secret"]
    device = ("anonymous_id", "tablet")
    visit = {"type": "page", "name": "Home", "anonymousId": device[1]}
    caller.send({**visit, "messageId": "m1", "userId": BOB[1]}, kind="browser")
    clock.advance(SECOND)
    signed = hmac.new(secret.encode(), ANN[1].encode(), hashlib.sha256).hexdigest()
    told = consent(ANN, device, user_id_signature=signed)
    assert caller.api("POST", "/consents", told, key=browser) == {"purpose": EMAIL, "recorded": True}
    held = {who: grants(caller, who) for who in (ANN, BOB, device)}
    assert held == {ANN: 1, BOB: 0, device: 0}
    clock.advance(SECOND)
    caller.send({**visit, "messageId": "m2", "userId": BOB[1]}, kind="browser")
    assert state(caller, *ANN, EMAIL) == "granted"
    assert state(caller, *BOB, EMAIL) == "missing"


def grants(caller: Caller, who: tuple[str, str]) -> int:
    """How many grants are recorded of an identity."""
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, *who)
        assert number is not None
        return len(services.ledger.records_of(connection, [number]))
