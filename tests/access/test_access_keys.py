"""Keys that could never work are refused when they are made, over REST and on both stores."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller

PURPOSE = "marketing.communications.email"
MAILER = {"roles": ["destination"], "destination": "mailer", "purposes": [PURPOSE]}


def refusal(caller: Caller, path: str, body: object, status: int) -> str:
    return str(caller.api("POST", path, body, expect=status)["detail"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"roles": ["marketer"], "purposes": ["nonsense.nothing"]}, "purposes.yaml"),
        ({**MAILER, "purposes": [PURPOSE, "nonsense.nothing"]}, "purposes.yaml"),
        ({**MAILER, "destination": "nonsense-nowhere"}, "destinations/"),
        ({**MAILER, "purposes": []}, "at least one purpose"),
        ({**MAILER, "destination": ""}, "names its destination"),
        ({"roles": ["marketer"], "destination": "mailer"}, "names its destination"),
        ({"roles": ["marketer", "destination"], "destination": "mailer"}, "a destination's or a marketer's"),
        ({"roles": ["marketer"], "expires_at": "2026-02-28T00:00:00Z"}, "in the past"),
        ({"roles": ["marketer"], "expires_at": "2026-03-01T12:00:00Z"}, "in the past"),
        ({"roles": ["source"]}, "cdp source create"),
        ({"roles": ["source", "officer"]}, "cdp source create"),
        ({"roles": []}, "at least one role"),
    ],
)
def test_a_key_that_cannot_work_is_refused(caller: Caller, wrong: dict[str, Any], said: str) -> None:
    detail = refusal(caller, "/keys", {"name": "k", **wrong}, 400)
    assert said in detail
    assert "nonsense" not in detail
    assert [key["name"] for key in caller.api("GET", "/keys")["items"]] == ["operator"]


def test_a_key_that_can_work_is_made(caller: Caller) -> None:
    made = caller.api("POST", "/keys", {"name": "m", **MAILER, "expires_at": "2026-03-01T12:00:01Z"})
    assert caller.api("GET", "/exports", key=made["key"])["items"] == []
    everything = caller.api("POST", "/keys", {"name": "e", "roles": ["officer"], "purposes": ["*"]})
    assert everything["purposes"] == ["*"]


def test_a_disabled_source_gets_no_new_key(caller: Caller) -> None:
    caller.api("POST", "/sources", {"name": "shop"})
    caller.api("POST", "/sources/shop/disable")
    assert "cdp source create" in refusal(caller, "/sources/shop/rotate", None, 409)
    assert caller.api("GET", "/audit?action=source.rotate")["items"] == []


def test_a_key_may_ask_who_it_is(caller: Caller) -> None:
    made = caller.api("POST", "/keys", {"name": "m", **MAILER})
    key = made.pop("key")
    assert caller.api("GET", "/key", key=key) == made
    assert caller.api("GET", "/key")["name"] == "operator"
    caller.api("GET", "/key", key=caller.write_key(), expect=403)
