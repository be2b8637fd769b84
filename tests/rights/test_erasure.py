"""Erasure: bound at once, in every process; told, destroyed, deleted, certified; and nobody comes back."""

from __future__ import annotations

from caller import Caller
from erasing_world import erased, germans, shopper
from recovery_world import EMAIL, number_of


def test_who_is_erased_is_nowhere(caller: Caller) -> None:
    for name in ("ann", "ben"):
        shopper(caller, name)
    profile = caller.lookup("user_id", "ann")["id"]
    export = germans(caller)
    key = caller.destination_key("mailer", EMAIL)
    headers = {"Authorization": f"Bearer {key}"}
    rows = caller.http.get(f"/api/v1/exports/{export['id']}/data", headers=headers).content.splitlines()
    assert len(rows) == 2
    request_id = erased(caller, "ann@people.example", "email")
    for kind, value in (
        ("user_id", "ann"),
        ("email", "ann@people.example"),
        ("anonymous_id", "device-of-ann"),
    ):
        body = {"type": kind, "value": value}
        caller.api("POST", "/profiles/lookup", body, purpose="data_quality", expect=404)
        assert number_of(caller, value, kind) is None
    for part in ("", "/events", "/traits", "/consents", "/identifiers", "/uses"):
        caller.api("GET", f"/profiles/{profile}{part}", purpose="compliance_review", expect=404)
    assert len(caller.services.segments.evaluate("germans").bitmap) == 1
    again = caller.http.get(f"/api/v1/exports/{export['id']}/data", headers=headers).content.splitlines()
    assert len(again) == 1
    assert caller.lookup("user_id", "ben")
    (message,) = caller.api("GET", "/destinations/mailer/recalls", key=key)["items"]
    (removal,) = message["data"]["removals"]
    assert removal["reason"] == "erase"
    assert any(removal["profile_ref"].encode() in row for row in rows)
    assert caller.api("GET", "/audit/verify")["verified"]
    assert caller.api("GET", f"/rights/requests/{request_id}")["state"] == "fulfilled"
