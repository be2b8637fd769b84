"""An address that somebody gives belongs to whoever it identifies, not to everybody who says it."""

from __future__ import annotations

from itertools import count

import pytest
from caller import Caller

_minutes = count()


def identify(user: str, **traits: object) -> dict[str, object]:
    """Return what somebody says of themselves, each a minute after the one before."""
    minute = next(_minutes)
    at = f"2026-02-01T{minute // 60:02}:{minute % 60:02}:00Z"
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


def test_a_text_that_is_no_address_is_nobodys(caller: Caller) -> None:
    """It may hold one (Ann <ann@…>), whose owner could not say no to it here."""
    caller.send(identify("u-bob", email="not an address", first_name="Bob"))
    assert revealed(caller, "u-bob") == ({"first_name": "Bob"}, {"email": "not_known"})


@pytest.mark.parametrize("kind", ["browser", "server"])
def test_another_spelling_of_the_field_says_nothing_of_somebody_elses_address(
    caller: Caller, kind: str
) -> None:
    caller.send(identify("u-ann", email="ann@example.org", first_name="Ann"))
    caller.send(identify("u-eve", first_name="Eve"))
    caller.send(identify("u-eve", email="ann@example.org", Email="eve@example.net"), kind=kind)
    assert revealed(caller, "u-ann")[0] == {"email": "ann@example.org", "first_name": "Ann"}


def test_what_validates_an_address_goes_where_the_address_goes(caller: Caller) -> None:
    caller.send(identify("u-ann", email="ann@example.org"))
    caller.send(identify("u-bob", email="bob@example.net", email_verified=True))
    caller.send(identify("u-bob", email="typed@example.net", email_verified=False))
    caller.send(identify("u-bob", email="ann@example.org", email_verified=True))
    assert revealed(caller, "u-bob")[0] == {"email": "bob@example.net"}
