"""The REST routes over a whole platform, on both stores."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from caller import Caller

from cdp.api.rest.health import _is_near
from cdp.audit import leaf_hash, verify_consistency, verify_inclusion

EMAIL = "ada.nobody@example.org"
PHONE = "+44 20 7946 0018"
PURPOSE = "compliance_review"
WHERE = {"where": {"trait": "country", "op": "eq", "value": "GB"}}


def identify(user: str, email: str, **traits: Any) -> dict[str, Any]:
    return {
        "type": "identify",
        "messageId": f"identify-{user}",
        "userId": user,
        "traits": {"email": email, "first_name": "Ada", "country": "GB", **traits},
    }


def track(user: str, number: int) -> dict[str, Any]:
    return {
        "type": "track",
        "messageId": f"track-{user}-{number}",
        "userId": user,
        "event": "Order Completed",
        "timestamp": f"2026-02-{number + 1:02d}T00:00:00Z",
        "properties": {"revenue": 10.5, "note": f"call {PHONE}"},
    }


def walk(caller: Caller, path: str, *, purpose: str = PURPOSE, limit: int = 2) -> Iterator[dict[str, Any]]:
    """Yield the items of a list, page after page."""
    cursor = ""
    for _ in range(200):
        joint = "&" if "?" in path else "?"
        page = caller.api("GET", f"{path}{joint}limit={limit}&cursor={cursor}", purpose=purpose)
        assert len(page["items"]) <= limit
        yield from page["items"]
        if page["next"] is None:
            return
        cursor = page["next"]
    raise AssertionError("the list does not end")


def test_a_portrait_shows_what_is_clear_and_names_what_is_sealed(caller: Caller) -> None:
    caller.send(identify("u1", EMAIL), *(track("u1", number) for number in range(5)))
    found = caller.lookup("email", EMAIL)
    assert found["traits"]["country"] == "GB"
    assert found["traits"]["email"] is None
    assert {"email", "first_name"} <= set(found["masked_fields"])
    again = caller.api("GET", f"/profiles/{found['id']}", purpose=PURPOSE)
    assert again == found
    identifiers = list(walk(caller, f"/profiles/{found['id']}/identifiers"))
    assert {item["type"] for item in identifiers} == {"user_id", "email"}
    assert all(item["value"] is None and item["masked_fields"] == ["value"] for item in identifiers)


def test_the_timeline_really_continues(caller: Caller) -> None:
    caller.send(identify("u1", EMAIL), *(track("u1", number) for number in range(7)))
    found = caller.lookup("email", EMAIL)["id"]
    events = list(walk(caller, f"/profiles/{found}/events", limit=3))
    assert len({event["id"] for event in events}) == len(events) == 8
    times = [event["occurred_at"] for event in events]
    assert times == sorted(times, reverse=True)
    order = next(event for event in events if event["name"] == "Order Completed")
    assert order["properties"] == {"revenue": 10.5}
    assert order["masked_fields"] == ["*"]


def test_nobody_is_404_and_every_look_up_is_a_use_on_record(caller: Caller) -> None:
    caller.send(identify("u1", EMAIL))
    body = {"type": "email", "value": "nobody.at.all@example.org"}
    caller.api("POST", "/profiles/lookup", body, purpose=PURPOSE, expect=404)
    caller.api("POST", "/profiles/lookup", {"type": "shoe", "value": "1"}, purpose=PURPOSE, expect=400)
    caller.api("GET", "/profiles/p_nonsense", purpose=PURPOSE, expect=404)
    found = caller.lookup("email", EMAIL)["id"]
    lookups = caller.api("GET", "/audit?action=profile.lookup")["items"]
    assert [entry["outcome"] for entry in lookups] == ["allowed", "failed"]
    uses = list(walk(caller, f"/profiles/{found}/uses"))
    assert [use["action"] for use in uses][-1] == "profile.lookup"
    assert uses[-1]["purpose"] == "data_quality"
    by_profile = caller.api("GET", f"/audit?profile={found}&action=profile.lookup")["items"]
    assert [entry["index"] for entry in by_profile] == [uses[-1]["index"]]


def test_consents_are_recorded_as_acts_and_answered_with_their_reason(caller: Caller) -> None:
    caller.send(identify("u1", EMAIL))
    person = {"identifiers": [{"type": "email", "value": EMAIL}], "purpose": "marketing.communications.email"}
    given = caller.api("POST", "/consents", {**person, "state": "granted"})
    assert (given["state"], given["recorded"]) == ("granted", True)
    taken = caller.api("POST", "/consents", {**person, "state": "withdrawn"})
    assert taken["state"] == "withdrawn"
    found = caller.lookup("email", EMAIL)["id"]
    states = {item["purpose"]: item["state"] for item in walk(caller, f"/consents?profile={found}", limit=4)}
    assert states["marketing.communications.email"] == "withdrawn"
    by_source = caller.api("POST", "/consents", {**person, "state": "granted"}, key=caller.write_key())
    assert by_source == {
        "purpose": "marketing.communications.email",
        "recorded": True,
        "record": by_source["record"],
        "receipt": f"/api/v1/consents/{by_source['record']}/receipt",
    }
    caller.api("POST", "/consents", {**person, "purpose": "no.such", "state": "granted"}, expect=400)
    caller.api("POST", "/consents", {**person, "state": "maybe"}, expect=400)
    caller.api("POST", "/consents", {**person, "identifiers": [], "state": "granted"}, expect=400)
    for wrong in ({"method": EMAIL}, {"recipients": ["nobody"]}, {"notice_version": 1 << 70}):
        caller.api("POST", "/consents", {**person, **wrong, "state": "granted"}, expect=400)
    recorded = caller.api("GET", f"/audit?action=consent.record&profile={found}")["items"]
    assert [entry["object"]["state"] for entry in recorded] == ["withdrawn", "granted"]


def test_a_consent_of_the_first_instant_of_1970_is_no_consent_of_today(caller: Caller) -> None:
    caller.send(identify("u1", EMAIL))
    person = {"identifiers": [{"type": "email", "value": EMAIL}], "purpose": "marketing.communications.email"}
    given = {**person, "state": "granted", "event_time": "1970-01-01T00:00:00Z"}
    assert caller.api("POST", "/consents", given)["state"] == "stale"


def test_merge_and_split_say_first_and_do_then_and_old_ids_answer(caller: Caller) -> None:
    caller.send(identify("u1", EMAIL), identify("u2", "bob.nobody@example.org"))
    one, two = caller.lookup("email", EMAIL), caller.lookup("email", "bob.nobody@example.org")
    caller.send({"type": "track", "userId": "u3", "event": "Seen"})
    three = caller.lookup("user_id", "u3")
    plan = caller.api("POST", "/profiles/merge", {"ids": [one["id"], two["id"]]})
    assert plan["dry_run"]
    assert caller.lookup("email", EMAIL)["identities"] == 2
    members = {item["type"]: item["id"] for item in walk(caller, f"/profiles/{one['id']}/identifiers")}
    tried = caller.api("POST", f"/profiles/{members['email']}/split")
    assert tried["dry_run"]
    done = caller.api("POST", f"/profiles/{members['email']}/split", {"dry_run": False})
    assert not done["dry_run"]
    assert caller.lookup("email", EMAIL)["id"] == members["email"]
    assert caller.lookup("user_id", "u1")["identities"] == 1
    back = caller.api("POST", "/profiles/merge", {"ids": list(members.values()), "dry_run": False})
    assert back["refused"] == {}
    ids = {caller.api("GET", f"/profiles/{old}", purpose=PURPOSE)["id"] for old in members.values()}
    assert len(ids) == 1
    assert three["id"] not in ids
    links = list(walk(caller, f"/profiles/{ids.pop()}/links"))
    assert {link["reason"] for link in links} >= {"accepted", "suppressed"}


def test_segments_are_stored_counted_paged_and_deleted(caller: Caller) -> None:
    caller.send(*(identify(f"u{n}", f"person{n}@example.org") for n in range(12)), wait=True)
    preview = caller.api("POST", "/segments/preview", WHERE)
    assert preview["count"] == 12
    assert set(preview) == {"count", "as_of", "took_ms"}
    for name in ("britons", "others", "everybody"):
        made = caller.api("PUT", f"/segments/{name}", {"name": name, **WHERE})
        assert (made["version"], made["count"]) == (1, 12)
    assert [item["name"] for item in walk(caller, "/segments")] == ["britons", "everybody", "others"]
    assert caller.api("GET", "/segments/britons")["definition"]["where"] == WHERE["where"]
    assert "britons" in caller.lookup("user_id", "u1")["segments"]
    caller.api("PUT", "/segments/britons", {"name": "other", **WHERE}, expect=400)
    caller.api("PUT", "/segments/x", {"where": {"trait": "email", "op": "eq", "value": "a"}}, expect=400)
    caller.api("DELETE", "/segments/others")
    caller.api("GET", "/segments/others", expect=404)


def test_a_count_that_is_shown_is_a_use_of_the_caller(caller: Caller) -> None:
    caller.send(*(identify(f"u{n}", f"person{n}@example.org") for n in range(12)), wait=True)
    caller.api("PUT", "/segments/britons", WHERE)
    made = caller.api("POST", "/keys", {"name": "m", "roles": ["marketer"]})
    before = len(caller.api("GET", "/audit?action=segment.count")["items"])
    caller.api("GET", "/segments/britons", key=made["key"])
    used = caller.api("GET", "/audit?action=segment.count")["items"]
    assert len(used) == before + 1
    assert (used[0]["actor"], used[0]["purpose"]) == (f"key:{made['id']}", "segmentation")
    assert used[0]["object"]["segment"] == "britons"
    assert used[0]["people"] == {"members": 12}


def test_a_marketer_sees_noised_counts_and_none_on_a_short_list(caller: Caller) -> None:
    caller.send(*(identify(f"u{n}", f"person{n}@example.org") for n in range(12)), wait=True)
    key = caller.api("POST", "/keys", {"name": "m", "roles": ["marketer"]})["key"]
    counts = {caller.api("POST", "/segments/preview", WHERE, key=key)["count"] for _ in range(3)}
    assert len(counts) == 1
    assert counts.pop() % 10 == 0
    members = [{"type": "user_id", "value": "u1"}, {"type": "user_id", "value": "unheard-of"}]
    listed = {"kind": "grey", "members": members}
    put = caller.api("PUT", "/lists/staff", listed)
    (entry,) = caller.api("GET", "/audit?action=list.put")["items"]
    assert (entry["purpose"], entry["people"]) == ("segmentation", {"entries": "<10", "waiting": "<10"})
    assert (put["members"], put["unknown"]) == (1, 1)
    short = {"where": {"all": [WHERE["where"], {"not": {"list": "staff"}}]}}
    assert caller.api("POST", "/segments/preview", short)["count"] == 11
    caller.api("POST", "/segments/preview", short, key=key, expect=403)
    caller.api("PUT", "/segments/hidden", short)
    nested = {"where": {"segment": "hidden"}}
    caller.api("POST", "/segments/preview", nested, key=key, expect=403)
    assert caller.api("GET", "/segments/hidden", key=key)["count"] is None


def test_an_export_is_decided_listed_and_fetched_by_its_destination_alone(caller: Caller) -> None:
    purpose = "marketing.communications.email"
    caller.send(*(identify(f"u{n}", f"person{n}@example.org") for n in range(4)), wait=True)
    for n in range(3):
        consent = {"identifiers": [{"type": "user_id", "value": f"u{n}"}], "purpose": purpose}
        caller.api("POST", "/consents", {**consent, "state": "granted"})
    caller.api("PUT", "/segments/britons", WHERE)
    asked = {"segment": "britons", "destination": "mailer", "purpose": purpose, "format": "jsonl"}
    tried = caller.api("POST", "/exports", {**asked, "dry_run": True})
    assert (tried["id"], tried["status"], tried["released"]) == (None, "dry_run", 3)
    made = caller.api("POST", "/exports", asked)
    assert made["released"] == 3
    assert sum(made["withheld"].values()) == 1
    assert caller.api("GET", f"/exports/{made['id']}") == made
    second = caller.api("POST", "/exports", asked)
    listed = [item["id"] for item in walk(caller, "/exports", limit=1)]
    assert sorted(listed) == sorted([second["id"], made["id"]])
    caller.api("GET", f"/exports/{made['id']}/data", expect=403)
    other = caller.destination_key("crm")
    caller.api("GET", f"/exports/{made['id']}/data", key=other, expect=404)
    key = caller.destination_key("mailer", purpose)
    answer = caller.http.get(f"/api/v1/exports/{made['id']}/data", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert len(answer.text.splitlines()) == 3
    caller.api("POST", "/exports", {**asked, "purpose": ""}, expect=400)
    assert caller.api("POST", "/exports", {**asked, "mode": "delta"})["mode"] == "delta"


def test_the_audit_log_is_searched_signed_and_proved(caller: Caller) -> None:
    for number in range(5):
        caller.api("POST", "/sources", {"name": f"s{number}"})
    made = list(walk(caller, "/audit?action=source.create"))
    assert [entry["action"] for entry in made] == ["source.create"] * 5
    indexes = [entry["index"] for entry in made]
    assert indexes == sorted(indexes, reverse=True)
    old = caller.api("POST", "/audit/checkpoint")
    caller.api("POST", "/sources", {"name": "later"})
    new = caller.api("POST", "/audit/checkpoint")
    assert caller.api("GET", "/audit/checkpoint")["size"] >= new["size"] > old["size"]
    found = caller.api("GET", f"/audit/proof/inclusion?index={indexes[0]}&size={new['size']}")
    root, proof = base64.b64decode(new["root"]), [base64.b64decode(node) for node in found["hashes"]]
    leaf = leaf_hash(found["entry"].encode())
    assert verify_inclusion(indexes[0], new["size"], leaf, proof, root)
    assert not verify_inclusion(indexes[0] + 1, new["size"], leaf, proof, root)
    grown = caller.api("GET", f"/audit/proof/consistency?from={old['size']}&to={new['size']}")
    hashes = [base64.b64decode(node) for node in grown["hashes"]]
    assert verify_consistency(old["size"], new["size"], base64.b64decode(old["root"]), root, hashes)
    assert caller.api("GET", "/audit/verify")["verified"]
    caller.api("GET", "/audit?from=yesterday", expect=400)
    caller.api("GET", "/audit?outcome=perhaps", expect=400)
    caller.api("GET", "/audit/proof/inclusion?index=0&size=99999999", expect=400)


def test_time_bounds_of_the_audit_search(caller: Caller) -> None:
    caller.api("POST", "/sources", {"name": "s"})
    assert caller.api("GET", "/audit?action=source.create&from=2026-03-01T00:00:00Z")["items"]
    assert caller.api("GET", "/audit?action=source.create&to=2026-03-01T00:00:00Z")["items"] == []


def test_quarantine_is_listed_by_cause_and_replayed(caller: Caller) -> None:
    bad = [{"type": "track", "userId": "u1", "messageId": f"m{n}"} for n in range(3)]
    caller.send(*bad, {"type": "dance", "userId": "u1"})
    items = list(walk(caller, "/quarantine"))
    assert sorted(item["reason"] for item in items) == ["bad_name"] * 3 + ["unknown_type"]
    assert len(list(walk(caller, "/quarantine?kind=tracker_protocol_violation"))) == 4
    replayed = caller.api("POST", "/quarantine/replay")
    assert (replayed["received"], replayed["quarantined"]) == (4, 4)
    assert len(list(walk(caller, "/quarantine"))) == 4


def test_policies_are_shown_with_their_digest(caller: Caller) -> None:
    held = caller.api("GET", "/policies")
    assert held["sha256"].startswith(held["version"])
    assert {found["name"] for found in held["destinations"]} >= {"mailer", "controller"}
    assert any(rule["id"] == "email-marketing-opt-in" for rule in held["rules"])


def test_rebuilding_changes_no_answer(caller: Caller) -> None:
    caller.send(*(identify(f"u{n}", f"person{n}@example.org") for n in range(5)), wait=True)
    caller.api("PUT", "/segments/britons", WHERE)
    assert caller.api("POST", "/rebuild")["segments"] == 1
    assert caller.api("GET", "/segments/britons")["count"] == 5


def test_ready_and_alive(caller: Caller) -> None:
    for prefix in ("", "/api/v1"):
        assert caller.http.get(f"{prefix}/health/live").json() == {"status": "live"}
        assert caller.http.get(f"{prefix}/health/ready").json()["checks"] == {
            "store": True,
            "keys": True,
            "policies": True,
            "journal": True,
            "intake": True,
        }


@pytest.mark.parametrize("value", ["\x00", "a\ud800b", "9" * 10_000, "@", " ", "Ä" * 300, "'; --"])
def test_odd_values_are_answered_and_not_repeated(caller: Caller, value: str) -> None:
    headers = {"Authorization": f"Bearer {caller.operator_key}", "CDP-Purpose": PURPOSE}

    def call(method: str, path: str, body: object = None) -> None:
        answer = caller.http.request(
            method, path, headers=headers, content=None if body is None else json.dumps(body)
        )
        assert 400 <= answer.status_code < 500, answer.text
        assert value == " " or value not in answer.json()["detail"]

    person = {"type": "email", "value": value}
    call("POST", "/api/v1/profiles/lookup", person)
    call("POST", "/api/v1/profiles/lookup", {"type": value, "value": "x"})
    call("POST", "/api/v1/consents", {"identifiers": [person], "purpose": "analytics", "state": "granted"})
    call("POST", "/api/v1/profiles/merge", {"ids": [value, value]})
    call("POST", "/api/v1/exports", {"segment": value, "destination": value, "purpose": value})
    call("POST", "/api/v1/segments/preview", {"where": {"trait": value, "op": "eq", "value": value}})
    if value.isascii() and len(value) < 100:
        path = quote(value, safe="")
        call("GET", f"/api/v1/profiles/{path}")
        call("GET", f"/api/v1/segments/{path}")
        call("PUT", f"/api/v1/segments/{path}", {"where": {"trait": "country", "op": "exists"}})
        call("GET", f"/api/v1/exports/{path}")
        call("DELETE", f"/api/v1/keys/{path}")


def test_the_documentation_names_every_route_and_loads_nothing(caller: Caller) -> None:
    page = caller.http.get("/schema")
    assert page.status_code == 200
    assert "://" not in page.text.replace("http://www.w3.org", "")
    document = caller.http.get("/schema/openapi.json").json()
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert len(operations) > 40
    assert [found["operationId"] for found in operations if not found.get("description")] == []


@pytest.mark.parametrize(
    ("host", "near"),
    [("127.0.0.1", True), ("10.1.2.3", True), ("::1", True), ("8.8.8.8", False), ("x", False)],
)
def test_metrics_answer_to_private_networks_only(host: str, near: bool) -> None:  # noqa: FBT001  # a parameter of the test
    assert _is_near(host) is near


def test_no_answer_holds_a_clear_value(caller: Caller) -> None:
    caller.send(identify("u1", EMAIL, phone=PHONE), track("u1", 1))
    found = caller.lookup("email", EMAIL)["id"]
    headers = {"Authorization": f"Bearer {caller.operator_key}", "CDP-Purpose": PURPOSE}
    for path in ("", "/events", "/identifiers", "/links", "/consents", "/uses"):
        text = caller.http.get(f"/api/v1/profiles/{found}{path}", headers=headers).text
        assert EMAIL not in text
        assert "7946" not in text
        assert "Ada" not in text
    assert EMAIL not in caller.http.get("/api/v1/audit?limit=500", headers=headers).text
