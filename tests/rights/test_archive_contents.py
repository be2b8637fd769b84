"""What is in an archive: all that is kept of a person, each value with its meaning."""

from __future__ import annotations

import hashlib
from pathlib import Path

import jsonschema
import msgspec
import pytest
from archives import ADA, Opened, archive_of
from caller import Caller
from recovery_world import number_of
from sqlalchemy import update

from cdp.clock import SECOND, FixedClock
from cdp.consent import verify_receipt
from cdp.crypto.tables import deks
from cdp.policy import Rule, Transform
from cdp.rights import archive_schema

ROOT = Path(__file__).parents[2]
EMAIL = "marketing.communications.email"
VALUE_TIER = {
    "name": "value_tier",
    "kind": "customer",
    "cases": [{"where": {"event": "Order Completed", "count": {"gte": 1}}, "value": "gold"}],
    "otherwise": "none",
}


@pytest.fixture
def ada(caller: Caller, clock: FixedClock) -> Caller:
    """Somebody with an account, orders, consents, a list and a release."""
    caller.send(
        {
            "type": "identify",
            "messageId": "m1",
            "userId": "ada",
            "timestamp": "2026-02-01T10:00:00Z",
            "traits": {"email": ADA, "plan": "gold", "firstName": "Ada", "shoeSize": 41},
        },
        {
            "type": "track",
            "messageId": "m2",
            "userId": "ada",
            "event": "Order Completed",
            "timestamp": "2026-02-02T10:00:00Z",
            "properties": {
                "order_id": "o-1",
                "total": 12.5,
                "gift_note": "for Byron",
                "products": [{"product_id": "p-1", "price": 3.5, "engraving": "A.L."}],
            },
            "context": {"ip": "192.0.2.7", "page": {"path": "/books", "title": "Ada's books"}},
        },
        {"type": "page", "messageId": "m3", "userId": "ada", "name": "Home", "properties": {"path": "/"}},
    )
    caller.send(
        {"type": "identify", "messageId": "m4", "userId": "bob", "traits": {"email": "bob@example.org"}}
    )
    for state in ("granted", "withdrawn", "granted"):
        consent = {"identifiers": [{"type": "email", "value": ADA}], "purpose": EMAIL, "state": state}
        caller.api("POST", "/consents", consent, purpose="compliance_review")
        clock.advance(SECOND)
    return caller


def test_facts_are_whole_with_what_was_sealed_opened(ada: Caller) -> None:
    opened = archive_of(ada)
    assert opened.values == {("email", ADA), ("user_id", "ada")}
    assert opened.traits["first_name"] == "Ada"
    assert opened.traits["shoe_size"] == 41
    order = next(event for event in opened.events if event["name"] == "Order Completed")
    assert order["properties"] == {
        "order_id": "o-1",
        "total": 12.5,
        "gift_note": "for Byron",
        "products": [{"product_id": "p-1", "price": 3.5, "engraving": "A.L."}],
    }
    assert order["context"] == {"ip": "192.0.2.7", "page": {"path": "/books", "title": "Ada's books"}}
    assert (order["source"], order["source_kind"]) == ("test-server", "server")
    own = [event["type"] for event in opened.events if not event["name"].startswith("Consent")]
    assert own == ["page", "track", "identify"]
    assert [event["occurred_at"] for event in opened.events] == sorted(
        (event["occurred_at"] for event in opened.events), reverse=True
    )
    assert "bob" not in opened.everything
    said = {(one["name"], one["value"]) for one in opened.json("profile.json")["observations"]}
    assert {("plan", "gold"), ("email", ADA)} <= said


def test_consents_come_with_receipts_that_verify_offline(ada: Caller) -> None:
    opened = archive_of(ada)
    consents = opened.json("consents.json")
    said = [one["state"] for one in consents["records"]]
    assert said == ["granted", "withdrawn", "withdrawn", "granted"]  # a no is written to every identity
    states = {one["purpose"]: one["state"] for one in consents["states"]}
    assert states[EMAIL] == "granted"
    key = ada.services.receipts.public_key
    for record in consents["records"]:
        receipt = verify_receipt(opened.raw(record["receipt"]), key)
        assert receipt["record_id"] == record["record_id"]
        assert receipt["event"]["state"] == record["state"]
    assert opened.json("receipts/key.json")["kty"] == "OKP"


def test_uses_recipients_requests_and_lists_are_told(ada: Caller) -> None:
    ada.lookup("email", ADA)
    ada.api("PUT", "/lists/vip", {"kind": "white", "members": [{"type": "email", "value": ADA}]})
    ada.api("PUT", "/lists/never", {"kind": "black", "members": [{"type": "email", "value": ADA}]})
    opened = archive_of(ada)
    uses = {(use["action"], use["purpose"], use["by"]) for use in opened.json("uses.json")}
    assert any(action == "profile.lookup" and purpose == "data_quality" for action, purpose, _ in uses)
    assert "operator" not in {by for _, _, by in uses}
    assert {(one["list"], one["kind"]) for one in opened.json("lists.json")} == {
        ("vip", "white"),
        ("never", "black"),
    }
    (request,) = opened.json("requests.json")
    assert (request["kind"], request["channel"]) == ("access", "officer")


def test_who_received_what_of_them_is_told_and_who_did_not(ada: Caller) -> None:
    """With the recipient, the purpose, the time, the fields and how they left."""
    ada.send(
        {"type": "identify", "messageId": "m7", "userId": "ada", "traits": {"country": "Germany"}}, wait=True
    )
    ada.api("PUT", "/segments/germans", {"where": {"trait": "country", "op": "eq", "value": "Germany"}})
    asked = {"segment": "germans", "destination": "mailer", "purpose": EMAIL, "fields": ["email", "country"]}
    fetched, waiting = (ada.api("POST", "/exports", asked)["id"] for _ in range(2))
    ada.services.audit.sign_checkpoint(ada.services.committer)
    key = ada.destination_key("mailer", EMAIL)
    answer = ada.http.get(f"/api/v1/exports/{fetched}/data", headers={"Authorization": f"Bearer {key}"})
    assert ADA in answer.text
    told = {one["export"]: one for one in archive_of(ada).json("recipients.json")}
    assert told.keys() == {fetched, waiting}
    one = told[fetched]
    assert (one["name"], one["role"], one["country"]) == ("Paper Plane Mail (fictional)", "processor", "IE")
    assert (one["purpose"], one["segment"]) == (EMAIL, "germans")
    assert one["fields"]["email"] == "clear"
    assert one["received"] == ["2026-03-01T12:00:03Z"]
    assert told[waiting]["received"] == []
    assert archive_of(ada, "bob@example.org").json("recipients.json") == []


def test_what_the_policies_keep_back_is_not_in_it(ada: Caller) -> None:
    """A limit of the controller takes a category away: value, name and meaning; lists, too."""
    for name, category in (("vip", "user.account"), ("suspects", "user.inferred.solvency")):
        members = [{"type": "email", "value": ADA}]
        ada.api("PUT", f"/lists/{name}", {"kind": "black", "members": members, "category": category})
    kept = ("user.name", "user.behavior.purchase_history", "user.inferred.solvency")
    limit = Rule(
        id="kept-back",
        effect="limit",
        purpose="rights",
        destination_names=frozenset({"controller"}),
        fields={category: Transform("drop") for category in kept},
    )
    bundle = ada.services.bundle
    changed = msgspec.structs.replace(bundle, rules=(*bundle.rules, limit))
    ada.services.gate._judge.policy = lambda _connection: changed
    opened = archive_of(ada)
    assert opened.traits["email"] == ADA
    assert [one["list"] for one in opened.json("lists.json")] == ["vip"]
    assert [event["name"] for event in opened.events if event["occurred_at"] == "2026-02-02T10:00:00Z"] == [
        ""
    ]
    for hidden in ("first_name", "Order Completed", "gift_note", "for Byron", "suspects"):
        assert hidden not in opened.everything


def test_a_lost_key_takes_away_what_lies_under_it_and_says_so(ada: Caller) -> None:
    keyring = ada.services.keyring
    with keyring.store.writing() as connection, connection.begin():
        mine = deks.c.identity_no == number_of(ada, "ada"), deks.c.domain == "person"
        connection.execute(update(deks).where(*mine).values(wrapped=bytes(60)))
    with keyring._lock:
        keyring._forget()
    opened = archive_of(ada)
    assert {(one["type"], one["value"], one["unreadable"]) for one in opened.json("identifiers.json")} == {
        ("email", ADA, False),
        ("user_id", None, True),
    }
    order = next(event for event in opened.events if event["name"] == "Order Completed")
    assert order["unreadable"]
    assert order["properties"]["total"] == 12.5  # what is kept in clear
    assert "gift_note" not in order["properties"]
    said = opened.json("manifest.json")["left_out"]
    assert any("could not be opened" in one for one in said)
    assert opened.traits["email"] == ADA


def test_every_field_has_its_meaning(ada: Caller) -> None:
    opened = archive_of(ada)
    meant = {(one["part"], one["name"]): one for one in opened.json("meanings.json")["fields"]}
    assert meant["trait", "email"]["category"] == "user.contact.email"
    assert meant["trait", "email"]["kept"]
    assert meant["trait", "shoe_size"]["declared"] is False
    assert meant["trait", "shoe_size"]["protection"] == "sealed"
    assert meant["property", "total"]["sources"] == ["test-server"]
    assert ("context", "page.title") in meant
    assert meant["event", "Order Completed"]["category"] == "user.behavior.purchase_history"
    purposes = {one["purpose"]: one for one in opened.json("meanings.json")["purposes"]}
    assert purposes[EMAIL]["basis"]
    assert purposes[EMAIL]["law"]


def test_a_conclusion_is_told_with_what_it_is_drawn_from(ada: Caller) -> None:
    ada.api("PUT", "/tags/value_tier", VALUE_TIER)
    bought = {"where": {"event": "Order Completed", "count": {"gte": 1}}}
    ada.api("PUT", "/segments/buyers", bought)
    ada.services.mirror.refresh()
    ada.services.segments.evaluate("buyers")
    found = {(one["kind"], one["name"]): one for one in archive_of(ada).json("conclusions.json")}
    assert found["tag", "value_tier"]["value"] == "gold"
    assert found["tag", "value_tier"]["basis"]
    assert found["segment", "buyers"]["value"] is True
    assert "user.behavior.purchase_history" in found["segment", "buyers"]["categories"]


def test_a_message_in_quarantine_that_names_them_is_in_it(ada: Caller) -> None:
    wrong = {"type": "track", "messageId": "q1", "userId": "ada", "event": 7, "properties": {"why": "odd"}}
    others = {"type": "track", "messageId": "q2", "userId": "bob", "event": 7}
    ada.send(wrong, others)
    (waiting,) = archive_of(ada).json("waiting.json")
    assert msgspec.json.decode(waiting["message"])["properties"] == {"why": "odd"}
    assert waiting["source"] == "test-server"


def test_every_file_fits_the_published_schema_and_its_own_hash(ada: Caller) -> None:
    opened = archive_of(ada)
    published = msgspec.json.decode((ROOT / "docs/archive.schema.json").read_bytes())
    assert (
        published == msgspec.json.decode(msgspec.json.encode(archive_schema())) == opened.json("schema.json")
    )
    manifest = opened.json("manifest.json")
    named = {one["name"]: one for one in manifest["files"]}
    assert set(opened.names) - named.keys() == {"manifest.json", "index.html"}
    for name, one in named.items():
        assert hashlib.sha256(opened.raw(name)).hexdigest() == one["sha256"]
    for pattern, shape in published["files"].items():
        for name in opened.matching(*pattern.split("NNNN")) if "NNNN" in pattern else [pattern]:
            jsonschema.validate(opened.json(name), {"$defs": published["$defs"], **shape})


def test_what_is_portable_is_what_they_gave(ada: Caller) -> None:
    ada.send({"type": "identify", "messageId": "m9", "userId": "ada", "traits": {"churn_risk": "high"}})
    whole = archive_of(ada)
    assert whole.traits["churn_risk"] == "high"
    for opened in (whole, archive_of(ada, kind="portability")):
        told = {one["name"] for one in opened.json("portable/profile.json")["traits"]}
        assert {"email", "first_name", "plan", "shoe_size"} <= told
        assert "churn_risk" not in told  # a conclusion is not what somebody provided
        (page,) = opened.matching("portable/events-", ".json")
        assert "Order Completed" in {event["name"] for event in opened.json(page)}
        assert "gift_note,for Byron" in opened.raw(page.replace(".json", ".csv")).decode()
    assert not {"uses.json", "recipients.json", "profile.json", "consents.json"} & set(opened.names)


def test_somebody_of_whom_nothing_is_known_but_an_address(caller: Caller) -> None:
    consent = {"identifiers": [{"type": "email", "value": ADA}], "purpose": EMAIL, "state": "granted"}
    caller.api("POST", "/consents", consent, purpose="compliance_review")
    opened: Opened = archive_of(caller)
    assert opened.values == {("email", ADA)}
    assert [event["name"] for event in opened.events] == ["Consent Recorded"]
    assert opened.json("recipients.json") == opened.json("conclusions.json") == []
    assert b"Nothing." in opened.raw("index.html")
