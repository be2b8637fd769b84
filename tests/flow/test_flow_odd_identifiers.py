"""Identifiers of every script and of no form, empty, huge, with control characters; ten thousand of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from caller import Caller

SCRIPTS = (
    "Ann Lee", "Ängström", "Ανδρέας", "Юлия", "王小明", "さくら", "김철수", "محمد", "יעל", "दीपक",
    "ณัฐ", "ann🙂", "ⅷ½ﬃ", "e\u0301a\u0308", "\u202eann", "\uff46\uff55\uff4c\uff4c",
)  # fmt: skip
CONTROLS = ("\0", "\x01", "\x1b[2J", "\x7f", "\x85", "\x9f", "\r\n")
ODD = (
    "", " ", *(f"a{one}b" for one in CONTROLS), "x" * 999, "x" * 20_000, "@", "@" * 600, "+", "+" + "9" * 300,
    "\ufeff", "' OR 1=1 --", "%00", "{{7*7}}", "../../etc", 0, -1, 1e308, True, None, [], ["a"], {"id": "a"},
)  # fmt: skip
Place = Callable[[Any], dict[str, Any]]
PLACES: dict[str, Place] = {
    "user_id": lambda value: {"userId": value},
    "anonymous_id": lambda value: {"anonymousId": value},
    "email": lambda value: {"traits": {"email": value}},
    "phone": lambda value: {"traits": {"phone": value}},
    "device_id": lambda value: {"context": {"device": {"id": value}}},
    "external:crm": lambda value: {"context": {"externalIds": [{"type": "crm", "id": value}]}},
}


def identify(message_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "identify", "messageId": message_id, "userId": "ann", **fields}


def home(caller: Caller, kind: str, value: str) -> str:
    return str(caller.lookup(kind, value)["id"])


@pytest.mark.parametrize("kind", ["user_id", "anonymous_id", "device_id", "external:crm"])
def test_every_script_is_an_id_of_its_own(caller: Caller, kind: str) -> None:
    known = [
        {"type": "track", "event": "Product Viewed", "anonymousId": f"d{n}", **PLACES[kind](value)}
        for n, value in enumerate(SCRIPTS)
    ]
    caller.send(*known)
    assert caller.api("GET", "/quarantine")["items"] == []
    homes = {home(caller, kind, value) for value in SCRIPTS}
    assert len(homes) == len(SCRIPTS)


def test_addresses_and_numbers_of_other_scripts_are_found_as_they_were_sent(caller: Caller) -> None:
    addresses = ["юлия@пример.example", "小明@例子.example", "ann@bücher.example"]
    numbers = ["+٤٤ ٢٠ ٨٧٦٥ ٤٣٢١", "\uff0b\uff14\uff14 20 8765 4322", "+४४ २० ८७६५ ४३२३"]
    for kind, values in (("email", addresses), ("phone", numbers)):
        messages = [
            identify(f"{kind}{n}", userId=f"{kind}{n}", **PLACES[kind](one)) for n, one in enumerate(values)
        ]
        caller.send(*messages)
        for n, value in enumerate(values):
            assert home(caller, kind, value) == home(caller, "user_id", f"{kind}{n}")
    assert home(caller, "phone", "+442087654321") == home(caller, "user_id", "phone0")
    assert home(caller, "email", "ann@xn--bcher-kva.example") == home(caller, "user_id", "email2")


@pytest.mark.parametrize("kind", PLACES)
def test_what_is_no_identifier_harms_nothing_beside_it(caller: Caller, kind: str) -> None:
    """It is left out or lies in quarantine; its neighbours land; no answer repeats it."""
    odd = [identify(f"m{n}", **{"traits": {}, **PLACES[kind](value)}) for n, value in enumerate(ODD)]
    caller.send(identify("first", anonymousId="first"), *odd, identify("last", anonymousId="last"))
    held = caller.api("GET", "/quarantine?limit=100")["items"]
    assert {item["reason"] for item in held} <= {"bad_identifier", "no_identifier"}
    assert home(caller, "anonymous_id", "first") == home(caller, "anonymous_id", "last")
    assert not any("x" * 20 in str(item) or "OR 1=1" in str(item) for item in held)
    for value in ODD:
        if isinstance(value, str):
            asked = {"type": kind, "value": value}
            headers = {"Authorization": f"Bearer {caller.operator_key}", "CDP-Purpose": "data_quality"}
            answer = caller.http.post("/api/v1/profiles/lookup", json=asked, headers=headers)
            assert answer.status_code in (200, 400, 404), value[:20]
            assert answer.status_code == 200 or len(value) < 3 or value not in answer.text


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_character_makes_no_identifier(caller: Caller, control: str) -> None:
    value = f"a{control}b"
    caller.send(*(identify(f"m{n}", **PLACES[kind](value)) for n, kind in enumerate(PLACES)))
    unknown = 400 if control == "\0" else 404
    for kind in PLACES:
        asked = {"type": kind, "value": value}
        caller.api("POST", "/profiles/lookup", asked, purpose="data_quality", expect=unknown)


@pytest.mark.parametrize("source", ["server", "browser"])
def test_aliases_to_oneself_and_around_harm_nothing(caller: Caller, source: str) -> None:
    ring = ["a", "b", "c", "a", "a", "c", "b"]
    calls = [
        {"type": "alias", "messageId": f"m{n}", "userId": new, "previousId": old}
        for n, (old, new) in enumerate(pairwise(ring))
    ]
    odd = [
        {"type": "alias", "messageId": f"o{n}", "userId": "a", "previousId": value}
        for n, value in enumerate(ODD)
    ]
    caller.send(*calls, *odd, kind=source)
    homes = {home(caller, "user_id", name) for name in "abc"}
    assert len(homes) == (1 if source == "server" else 3)


def test_ten_thousand_identifiers_on_one_profile(caller: Caller) -> None:
    """The profile stays below its cap, whoever looks at it pages, and a split of it is planned."""
    rules = caller.services.bundle.identity
    ids = [[{"type": f"t{part}n{n}", "id": "1"} for n in range(500)] for part in range(20)]
    messages = [identify(f"m{n}", context={"externalIds": given}) for n, given in enumerate(ids)]
    caller.send(*messages[:10])
    caller.send(*messages[10:])
    assert caller.api("GET", "/quarantine")["items"] == []
    profile = home(caller, "user_id", "ann")
    first = caller.api("GET", f"/profiles/{profile}/identifiers?limit=400", purpose="data_quality")
    query = f"limit=400&cursor={first['next']}"
    second = caller.api("GET", f"/profiles/{profile}/identifiers?{query}", purpose="data_quality")
    assert len(first["items"]) + len(second["items"]) == rules.profile_cap
    assert second["next"] is None
    last = first["items"][-1]["id"]
    caller.api("POST", f"/profiles/{last}/split", {"dry_run": True}, purpose="data_quality")
    with caller.services.store.reading() as connection:
        people = caller.services.identity.everybody(connection)
    assert sum(map(len, people.values())) == 10_001
    grown = caller.api("GET", "/identity/review?kind=large", purpose="data_quality")["items"]
    assert len(grown) == 1
