"""A browser's key is anybody's: a place that it tells adds a law, and never takes one away."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from caller import Caller

EMAIL = "marketing.communications.email"
EVERYWHERE = {"EU", "UK", "US", "US-CA", "CN", "other"}


def identify(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "identify", "messageId": f"m{number}", "userId": "ann", **more}


def explained(caller: Caller) -> tuple[str, set[str]]:
    """Return (why nothing goes out, the laws that bind)."""
    profile = caller.lookup("user_id", "ann")["id"]
    asked = {"profile": profile, "destination": "mailer", "purpose": EMAIL}
    found = caller.api("POST", "/policies/explain", asked, purpose="compliance_review")
    return found["reason"], {one["jurisdiction"] for one in found["jurisdictions"]}


@pytest.fixture
def ann(caller: Caller) -> Caller:
    """Somebody whom the server knows, who said yes and of whom no place is recorded."""
    caller.send(identify(1, traits={"email": "ann@people.example"}))
    named = {"type": "user_id", "value": "ann"}
    caller.api("POST", "/consents", {"identifiers": [named], "purpose": EMAIL, "state": "granted"})
    assert explained(caller) == ("jurisdiction_unknown", EVERYWHERE)
    return caller


@pytest.mark.parametrize(
    "traits",
    [{"country": "Germany"}, {"country": "US", "address": {"state": "Texas"}}, {"region": "California"}],
)
def test_a_browser_records_no_place(ann: Caller, traits: dict[str, Any]) -> None:
    ann.send(identify(2, traits=traits), kind="browser")
    assert explained(ann) == ("jurisdiction_unknown", EVERYWHERE)
    ann.send(identify(3, traits={"country": "Germany"}))
    reason, laws = explained(ann)
    assert reason != "jurisdiction_unknown"
    assert laws >= {"EU"}


@pytest.mark.parametrize(
    ("traits", "added"),
    [
        ({"country": "UK"}, {"UK"}),
        ({"country": "US", "address": {"state": "NV"}}, {"US", "US-CA"}),
        ({"region": "California"}, {"US-CA"}),
        ({"country": "Germany"}, set()),
        ({"country": "unspecified"}, set()),
    ],
)
def test_a_browsers_place_adds_a_law(ann: Caller, traits: dict[str, Any], added: set[str]) -> None:
    """Also where it was told of a device that came to the person later."""
    ann.send(identify(2, traits={"country": "France"}))
    told = {"type": "identify", "messageId": "m3", "anonymousId": "device", "traits": traits}
    ann.send(told, kind="browser")
    assert explained(ann)[1] == {"EU"}
    ann.send(identify(4, anonymousId="device"))
    assert explained(ann)[1] == {"EU"} | added


def test_a_browsers_state_does_not_narrow_a_country(ann: Caller) -> None:
    ann.send(identify(2, traits={"country": "US"}))
    ann.send(identify(3, traits={"address": {"state": "Texas"}}), kind="browser")
    assert explained(ann)[1] == {"EU", "US", "US-CA"}


@pytest.mark.parametrize("signed", [False, True])
def test_a_place_named_with_a_consent_counts_where_it_is_signed(ann: Caller, *, signed: bool) -> None:
    key = ann.write_key("browser")
    secret = ann.api("POST", "/sources/test-browser/secret")["secret"]
    body: dict[str, Any] = {
        "identifiers": [{"type": "user_id", "value": "ann"}],
        "purpose": "analytics",
        "state": "refused",
        "jurisdiction": "Germany",
    }
    if signed:
        body["user_id_signature"] = hmac.new(secret.encode(), b"ann", hashlib.sha256).hexdigest()
    ann.api("POST", "/consents", body, key=key)
    assert explained(ann)[1] == ({"EU"} if signed else EVERYWHERE)
