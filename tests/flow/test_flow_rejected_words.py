"""A message that is no event goes to quarantine, and what it restrains counts all the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from caller import Caller

from cdp.clock import SECOND, FixedClock

EMAIL = "marketing.communications.email"
SHARING = "marketing.advertising.third_party"


def act(message_id: str, granted: bool, **more: Any) -> dict[str, Any]:  # noqa: FBT001  # what is said
    return {
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "messageId": message_id,
        "userId": "ann",
        "context": {"consent": {"categoryPreferences": {"Email": granted}}},
        **more,
    }


def send(caller: Caller, *messages: dict[str, Any], kind: str = "server", control: str = "") -> None:
    headers = {"Sec-GPC": control} if control else {}
    content = msgspec.json.encode({"batch": messages})
    answer = caller.http.post(
        "/v1/batch", content=content, auth=(caller.write_key(kind), ""), headers=headers
    )
    assert answer.status_code == 200, answer.text


def state(caller: Caller, kind: str, value: str, purpose: str = EMAIL) -> str:
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, kind, value)
        if number is None:
            return "nobody"
        profile_no = services.identity.profile_of(connection, number)
        found = services.ledger.states(connection, purpose).get(profile_no)
    return "missing" if found is None else found.state


def quarantined(caller: Caller) -> list[str]:
    return [item["reason"] for item in caller.api("GET", "/quarantine")["items"]]


FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "fields": ("size_violation", {"properties": {f"f{number}": 1 for number in range(501)}}),
    "size": ("size_violation", {"properties": {"text": "x" * 40_000}}),
    "no object": ("malformed", {"properties": "x"}),
    "object as id": ("bad_identifier", {"anonymousId": {"a": 1}}),
    "long id": ("bad_identifier", {"anonymousId": "a" * 1001}),
    "control character": ("bad_identifier", {"anonymousId": "a\u0001b"}),
    "type": ("unknown_type", {"type": "click"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_rejected_message_restrains_counts(caller: Caller, clock: FixedClock, fault: str) -> None:
    kind, more = FAULTS[fault]
    send(caller, act("m1", True))
    clock.advance(SECOND)
    send(caller, act("m2", False, **more), act("m3", True, userId="ben"))
    assert quarantined(caller) == [kind]
    assert state(caller, "user_id", "ann") == "withdrawn"
    assert state(caller, "user_id", "ben") == "granted"  # its neighbour
    clock.advance(SECOND)
    send(caller, act("m4", True))
    clock.advance(SECOND)
    send(caller, act("m2", False, **more))  # the very message again, and its replay: heard once
    caller.api("POST", "/quarantine/replay", {})
    assert state(caller, "user_id", "ann") == "granted"


def test_a_rejected_message_grants_nothing(caller: Caller) -> None:
    send(caller, act("m1", True, properties="x"))
    assert quarantined(caller) == ["malformed"]
    assert state(caller, "user_id", "ann") == "nobody"


def test_sec_gpc_on_a_rejected_message_counts(caller: Caller) -> None:
    page = {"type": "page", "messageId": "m1", "anonymousId": "b1", "name": "x" * 300}
    send(caller, page, kind="browser", control="1")
    assert quarantined(caller) == ["bad_name"]
    assert state(caller, "anonymous_id", "b1", SHARING) == "opted_out"


def test_a_rejected_message_that_names_nobody_only_lies_there(caller: Caller) -> None:
    send(caller, act("m1", False, userId={"a": 1}), act("m2", False, userId=""))
    assert quarantined(caller) == ["bad_identifier", "no_identifier"]
