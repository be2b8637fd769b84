"""How much a source may send: said, kept, told to its client, and never in the way of a no."""

from __future__ import annotations

import gzip
from typing import Any

import msgspec
from caller import Caller
from httpx import Response

KIB = 1024


def _make(caller: Caller, name: str, kind: str = "server", **limits: object) -> str:
    made = caller.api("POST", "/sources", {"name": name, "kind": kind, **limits})
    assert {limit: made[limit] for limit in limits} == limits
    key = made["write_key"]
    assert isinstance(key, str)
    return key


def _batch(caller: Caller, key: str, *messages: dict[str, Any], **more: Any) -> Response:
    body = {"batch": [{"type": "page", "name": "Home", **message} for message in messages]}
    return caller.http.post("/v1/batch", content=msgspec.json.encode(body), auth=(key, ""), **more)


def _people(first: int, count: int) -> list[dict[str, Any]]:
    return [{"userId": f"u{number}", "messageId": f"m{number}"} for number in range(first, first + count)]


def test_they_are_said_changed_one_by_one_taken_away_and_on_record(caller: Caller) -> None:
    _make(caller, "till", max_body_kib=4096, max_event_kib=256)
    for wrong in ({"max_body_kib": 4097}, {"events_per_second": 0}, {"burst": 5}, {"max_event_kib": -1}):
        caller.api("PATCH", "/sources/till", wrong, expect=400)
        caller.api("POST", "/sources", {"name": "other", **wrong}, expect=400)
    caller.api("PATCH", "/sources/nobody", {"max_body_kib": 1}, expect=404)
    caller.api("PATCH", "/sources/till", {"max_body_kib": 1}, key=caller.officer("o"), expect=403)
    changed = caller.api("PATCH", "/sources/till", {"events_per_second": 7, "burst": 9})
    assert (changed["events_per_second"], changed["burst"], changed["max_body_kib"]) == (7, 9, 4096)
    changed = caller.api("PATCH", "/sources/till", {"max_body_kib": None, "burst": None})
    assert [changed[name] for name in ("events_per_second", "burst", "max_body_kib")] == [7, None, None]
    assert caller.api("GET", "/sources")["items"] == [changed]
    found = caller.api("GET", "/audit?action=source.limits")["items"]
    assert [entry["object"].get("events_per_second") for entry in found] == [7, 7]
    assert [entry["object"].get("max_body_kib") for entry in found] == [None, 4096]


def test_a_source_over_its_rate_is_told_when_and_may_say_no(caller: Caller) -> None:
    key = _make(caller, "site", "browser", events_per_second=1, burst=20)
    assert _batch(caller, key, *_people(100, 100)).status_code == 200
    refused = _batch(caller, key, *_people(20, 5), headers={"Origin": "https://shop.example.com"})
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert refused.headers["Retry-After"] == refused.headers["X-RateLimit-Reset"]
    assert 60 <= int(refused.headers["Retry-After"]) <= 86, "80 are owed, and 5 wanted"
    assert "X-RateLimit-Reset" in refused.headers["Access-Control-Expose-Headers"]
    body = {"type": "user_id", "value": "u20"}
    caller.api("POST", "/profiles/lookup", body, purpose="data_quality", expect=404)
    assert _batch(caller, key, *_people(20, 5), headers={"Sec-GPC": "1"}).status_code == 200
    signal = {"context": {"consent": {"categoryPreferences": {"Advertising": False}}}}
    assert _batch(caller, key, {"anonymousId": "device", **signal}).status_code == 200
    talk = {"anonymousId": "device", "properties": {"about": "consent"}}
    assert _batch(caller, key, talk).status_code == 429, "a word about it is not one that restrains"
    asked = {"identifiers": [{"type": "anonymous_id", "value": "d"}], "purpose": "marketing"}
    caller.api("POST", "/consents", {**asked, "state": "granted"}, key=key, expect=429)
    caller.api("POST", "/consents", {**asked, "state": "refused"}, key=key)
    profile = caller.lookup("user_id", "u20")["id"]
    states = caller.api("GET", f"/consents?profile={profile}", purpose="compliance_review")["items"]
    assert "opted_out" in {state["state"] for state in states}
    caller.api("PATCH", "/sources/site", {"events_per_second": None, "burst": None})
    assert _batch(caller, key, *_people(200, 200)).status_code == 200


def test_each_source_has_caps_of_its_own(caller: Caller) -> None:
    large = _make(caller, "large", max_body_kib=4096, max_event_kib=1024)
    small = _make(caller, "small", max_body_kib=8)
    usual = _make(caller, "usual")

    def long(name: str, kib: int) -> dict[str, Any]:
        return {"userId": name, "messageId": name, "properties": {"note": "x" * (kib * KIB)}}

    def track(key: str, event: dict[str, Any]) -> Response:
        return caller.http.post("/v1/track", json={"event": "Seen", **event}, auth=(key, ""))

    assert _batch(caller, large, *(long(f"l{number}", 900) for number in range(4))).status_code == 200
    assert _batch(caller, large, *(long(f"l{number}", 900) for number in range(5))).status_code == 400
    assert track(large, long("one", 1000)).status_code == 200
    assert track(large, long("two", 1025)).status_code == 400
    assert _batch(caller, usual, *(long(f"u{number}", 30) for number in range(17))).status_code == 400
    assert track(usual, long("three", 33)).status_code == 400
    assert _batch(caller, small, long("four", 4)).status_code == 200
    assert _batch(caller, small, long("five", 9)).status_code == 400
    packed = gzip.compress(msgspec.json.encode({"batch": [{"type": "page", **long("six", 9)}]}))
    headers = {"Content-Encoding": "gzip"}
    answer = caller.http.post("/v1/batch", content=packed, auth=(small, ""), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "too_large")
    in_body = {"batch": [{"type": "page", **long("seven", 9)}], "writeKey": small}
    assert caller.http.post("/v1/batch", json=in_body).status_code == 400
    packed = gzip.compress(msgspec.json.encode({"batch": [{"type": "page", **long("eight", 900)}]}))
    assert caller.http.post("/v1/batch", content=packed, auth=(large, ""), headers=headers).status_code == 200
    kept = [caller.lookup("user_id", name)["id"] for name in ("l0", "l3", "one", "four", "eight")]
    assert len(set(kept)) == 5
    assert caller.api("GET", "/quarantine")["items"] == []
