"""From calls to people: alias, group, merge protection; what of it is counted and on record."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller
from prometheus_client import REGISTRY

PURPOSE = "data_quality"


def call(kind: str, message_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "messageId": message_id, **fields}


def seen(message_id: str, **fields: Any) -> dict[str, Any]:
    return call("track", message_id, event="Product Viewed", **fields)


def identifiers(caller: Caller, kind: str, value: str) -> list[str]:
    """Return the types of the identifiers of whoever this is."""
    found = caller.api("GET", f"/profiles/{caller.lookup(kind, value)['id']}/identifiers", purpose=PURPOSE)
    return sorted(item["type"] for item in found["items"])


def same(caller: Caller, *named: tuple[str, str]) -> bool:
    return len({caller.lookup(kind, value)["id"] for kind, value in named}) == 1


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


ADA, ADA_BEFORE = ("user_id", "ada-2"), ("user_id", "ada-1")
ALIAS = call("alias", "m9", userId="ada-2", previousId="ada-1")


@pytest.mark.parametrize("kind", ["server", "import"])
def test_a_trusted_alias_makes_the_older_user_id_the_same_person(caller: Caller, kind: str) -> None:
    caller.send(seen("m1", userId="ada-1", anonymousId="d1"), seen("m2", userId="ada-2"))
    assert not same(caller, ADA, ADA_BEFORE)
    caller.send(ALIAS, kind=kind)
    assert same(caller, ADA, ADA_BEFORE, ("anonymous_id", "d1"))


def test_a_browser_s_alias_names_a_device_and_no_other_user(caller: Caller) -> None:
    caller.send(seen("m1", userId="ada-1"), seen("m2", userId="ada-2"))
    caller.send(ALIAS, kind="browser")
    assert not same(caller, ADA, ADA_BEFORE)
    assert same(caller, ADA, ("anonymous_id", "ada-1"))


def test_the_first_sign_in_of_a_device_is_an_alias_and_so_is_the_second(caller: Caller) -> None:
    """As server libraries say it: whoever signs in later on the device does not become who did first."""
    caller.send(seen("m1", anonymousId="d1"))
    caller.send(call("alias", "m2", userId="ada-1", previousId="d1", timestamp="2026-02-01T00:00:00Z"))
    caller.send(call("alias", "m3", userId="bob-1", previousId="d1", timestamp="2026-02-02T00:00:00Z"))
    assert same(caller, ADA_BEFORE, ("anonymous_id", "d1"))
    assert not same(caller, ADA_BEFORE, ("user_id", "bob-1"))


def test_cycles_of_aliases_are_one_person(caller: Caller) -> None:
    names = ["a", "b", "c", "d"]
    around = zip(names, [*names[1:], names[0]], strict=True)
    caller.send(*(call("alias", f"m{n}", userId=new, previousId=old) for n, (old, new) in enumerate(around)))
    assert same(caller, *(("user_id", name) for name in names))


def test_an_alias_to_itself_says_nothing_and_is_counted(caller: Caller) -> None:
    before = metric("cdp_ingest_self_aliases_total")
    caller.send(call("alias", "m1", userId="ada-1", previousId="ada-1"))
    assert identifiers(caller, *ADA_BEFORE) == ["user_id"]
    assert metric("cdp_ingest_self_aliases_total") == before + 1


def test_a_group_call_ties_nobody_and_tells_nothing_of_the_person(caller: Caller) -> None:
    group = {"groupId": "acme", "traits": {"email": "office@acme.example", "plan": "enterprise"}}
    caller.send(call("group", "m1", userId="ada-1", **group), call("group", "m2", userId="bob-1", **group))
    assert not same(caller, ADA_BEFORE, ("user_id", "bob-1"))
    assert identifiers(caller, *ADA_BEFORE) == ["user_id"]
    profile = caller.lookup(*ADA_BEFORE)
    assert profile["traits"] == {}
    (event,) = caller.api("GET", f"/profiles/{profile['id']}/events", purpose=PURPOSE)["items"]
    assert event["type"] == "group"


def test_what_is_set_aside_is_counted_and_on_record(caller: Caller) -> None:
    before = metric("cdp_identity_set_aside_total", reason="unique", type="user_id")
    caller.send(seen("m1", userId="ada-1", anonymousId="d1"))
    caller.send(seen("m2", userId="bob-1", anonymousId="d1"))
    assert metric("cdp_identity_set_aside_total", reason="unique", type="user_id") == before + 1
    newest = caller.api("GET", "/audit?action=ingest.batch")["items"][0]
    assert newest["people"]["set_aside.unique:user_id"] == "<10"


def test_no_type_that_a_sender_made_up_becomes_a_label(caller: Caller) -> None:
    before = metric("cdp_identity_set_aside_total", reason="limit", type="external")
    made_up = [
        seen(f"m{n}", userId="ada-1", context={"externalIds": [{"type": "madeUp", "id": f"x{n}"}]})
        for n in range(7)
    ]
    caller.send(*made_up)
    assert metric("cdp_identity_set_aside_total", reason="limit", type="external") == before + 2
    newest = caller.api("GET", "/audit?action=ingest.batch")["items"][0]
    assert {key for key in newest["people"] if key.startswith("set_aside")} == {"set_aside.limit:external"}
