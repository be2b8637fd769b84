"""GraphQL ``ingest``: every field of a message, what became of these events and no others, and refusals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from caller import Caller

from cdp.errors import OverloadedError
from cdp.settings import Settings

QUERY = (
    "mutation($events: [EventInput!]!) {ingest(events: $events) "
    "{success received stored duplicates quarantined refused suppressed}}"
)
EMAIL = "marketing.communications.email"


def push(caller: Caller, *events: dict[str, Any], kind: str = "server") -> Any:
    headers = {"Authorization": f"Bearer {caller.write_key(kind)}"}
    body = {"query": QUERY, "variables": {"events": events}}
    answer = caller.http.post("/graphql", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def became(caller: Caller, *events: dict[str, Any]) -> dict[str, int]:
    found = push(caller, *events)["data"]["ingest"]
    assert found.pop("success") is True
    return {name: count for name, count in found.items() if count}


def track(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "track", "userId": f"u-{number}", "event": "Seen", "messageId": f"m-{number}", **more}


def test_it_says_what_became_of_these_events_alone(caller: Caller) -> None:
    assert became(caller, track(1), track(1), {"type": "track", "userId": "u", "event": ""}) == {
        "received": 3,
        "stored": 1,
        "duplicates": 1,
        "quarantined": 1,
    }
    assert became(caller, track(1)) == {"received": 1, "duplicates": 1}
    keys = caller.write_key("server")
    with ThreadPoolExecutor(8) as pool:  # calls that meet in the writer's queue
        others = [
            pool.submit(
                caller.http.post, "/v1/track", json={"userId": f"x-{n}", "event": "Other"}, auth=(keys, "")
            )
            for n in range(30)
        ]
        found = list(pool.map(lambda n: became(caller, track(n), track(n + 1000)), range(2, 22)))
        assert {answer.result().status_code for answer in others} == {200}
    assert found == [{"received": 2, "stored": 2}] * 20


def test_every_field_of_a_message_is_taken(caller: Caller) -> None:
    full = {
        "type": "page",
        "userId": "whole",
        "anonymousId": "browser",
        "name": "Home",
        "category": "Landing",
        "messageId": "whole-1",
        "originalTimestamp": "2026-02-28T10:00:00Z",
        "sentAt": "2026-02-28T10:00:30Z",
        "channel": "web",
        "version": "1",
        "properties": {"path": "/"},
        "context": {"consent": {"categoryPreferences": {"Email": False}}},
        "integrations": {"All": False},
    }
    assert became(caller, full) == {"received": 1, "stored": 1}
    profile = caller.lookup("user_id", "whole")["id"]
    (event,) = caller.api("GET", f"/profiles/{profile}/events", purpose="data_quality")["items"]
    assert (event["name"], event["occurred_at"]) == ("Home", "2026-03-01T11:59:30Z"), "skew is corrected"
    found = caller.api("GET", f"/profiles/{profile}/consents", purpose="compliance_review")["items"]
    assert next(item["state"] for item in found if item["purpose"] == EMAIL) == "refused"
    others: list[dict[str, Any]] = [
        {"type": "identify", "userId": "whole", "traits": {"plan": "gold"}},
        {"type": "group", "userId": "whole", "groupId": "g-1", "traits": {"name": "Group"}},
        {"type": "alias", "userId": "whole", "previousId": "older"},
        {"type": "screen", "anonymousId": "browser", "name": "Start"},
    ]
    assert became(caller, *others) == {"received": 4, "stored": 4}


def test_a_call_that_is_refused_says_when_to_come_again(
    caller: Caller, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OverloadedError("too many events are waiting to be written", retry_after=7)

    with monkeypatch.context() as patched:
        patched.setattr(caller.services.intake, "submit", full)
        (error,) = push(caller, track(1))["errors"]
    assert error["extensions"] == {"code": "too-many-requests", "status": 429, "retryAfter": 7}
    for events in ([], [track(1)] * (settings.max_batch_events + 1)):
        (error,) = push(caller, *events)["errors"]
        assert error["extensions"]["code"] == "too-large"
    assert became(caller, track(1)) == {"received": 1, "stored": 1}
