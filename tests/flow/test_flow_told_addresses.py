"""An address that somebody gives belongs to whoever it identifies, not to everybody who says it."""

from __future__ import annotations

from caller import Caller


def identify(user: str, **traits: object) -> dict[str, object]:
    """Return what somebody says of themselves; Ann speaks before Bob."""
    at = "2026-02-01T12:00:00Z" if user == "u-ann" else "2026-02-02T12:00:00Z"
    return {"type": "identify", "userId": user, "traits": traits, "timestamp": at}


def revealed(caller: Caller, user: str) -> tuple[dict[str, object], dict[str, str]]:
    found = caller.lookup("user_id", user)
    body = {"fields": ["email", "first_name"], "purpose": "rights", "reason": "customer_request"}
    told = caller.api("POST", f"/profiles/{found['id']}/reveal", body)
    return told["fields"], told["withheld"]


def test_an_address_that_is_set_aside_is_no_trait_of_who_said_it(caller: Caller) -> None:
    caller.send(identify("u-ann", email="ann@example.org", first_name="Ann"))
    caller.send(identify("u-bob", email="ann@example.org", first_name="Bob"))
    fields, withheld = revealed(caller, "u-bob")
    assert fields == {"first_name": "Bob"}
    assert withheld == {"email": "not_known"}
    assert revealed(caller, "u-ann")[0] == {"email": "ann@example.org", "first_name": "Ann"}


def test_an_address_that_is_split_off_takes_its_trait_along(caller: Caller) -> None:
    caller.send(identify("u-ann", email="ann@example.org", first_name="Ann"))
    profile = caller.lookup("user_id", "u-ann")["id"]
    items = caller.api("GET", f"/profiles/{profile}/identifiers", purpose="data_quality")["items"]
    (address,) = (item["id"] for item in items if item["type"] == "email")
    caller.api("POST", f"/profiles/{address}/split", {"dry_run": False}, purpose="data_quality")
    assert revealed(caller, "u-ann") == ({"first_name": "Ann"}, {"email": "not_known"})


def test_a_text_that_is_no_address_stays_with_who_said_it(caller: Caller) -> None:
    caller.send(identify("u-bob", email="not an address", first_name="Bob"))
    assert revealed(caller, "u-bob")[0] == {"email": "not an address", "first_name": "Bob"}
