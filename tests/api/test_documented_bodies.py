"""The OpenAPI document says what the ingest routes take: what it allows becomes an event, else none."""

from __future__ import annotations

from typing import Any

from caller import Caller
from jsonschema import Draft202012Validator

from cdp.ingest import EVENT_TYPES

ANN = {"userId": "ann"}
SOLD = {**ANN, "event": "Order Completed"}
MESSAGES: dict[str, list[tuple[dict[str, Any], bool]]] = {
    "track": [
        (SOLD, True),
        ({"anonymousId": 7, "event": "Order Completed", "userId": "", "properties": None}, True),
        ({"event": "Order Completed"}, False),
        ({"event": "Order Completed", "userId": "", "anonymousId": None}, False),
        (ANN, False),
        ({**ANN, "event": ""}, False),
        ({**ANN, "event": "x" * 201}, False),
        ({**SOLD, "properties": []}, False),
        ({**SOLD, "properties": dict.fromkeys(map(str, range(501)), 1)}, False),
        ({**SOLD, "userId": "x" * 513}, False),
        ({**SOLD, "userId": "x" * 513, "anonymousId": "d"}, True),
        ({**SOLD, "userId": "x" * 1001, "anonymousId": "d"}, False),
        ({**SOLD, "userId": {}}, False),
        ({**SOLD, "context": "x"}, False),
    ],
    "identify": [({**ANN, "traits": {"country": "DE"}}, True), ({**ANN, "traits": 1}, False)],
    "alias": [({**ANN, "previousId": "b"}, True), ({"previousId": "b"}, True), ({}, False)],
    "page": [({**ANN, "name": None}, True), ({**ANN, "name": "x" * 201}, False)],
    "group": [({**ANN, "groupId": "g", "traits": {"size": 3}}, True), ({**ANN, "traits": "x"}, False)],
}
CLOUDEVENT = {"specversion": "1.0", "id": "1", "source": "/till", "type": "sold", "subject": "ann"}
CLOUDEVENTS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"data": {"total": 3}, "time": "2026-01-01T00:00:00Z"}, True),
    ({"specversion": "0.3"}, False),
    ({"type": ""}, False),
    ({"data": [1]}, False),
]


def test_the_ingest_routes_say_what_they_take(caller: Caller) -> None:
    document = caller.http.get("/schema/openapi.json").json()
    auth = (caller.write_key(), "")

    def allows(path: str, body: object, media: str = "application/json") -> bool:
        content = document["paths"][path]["post"]["requestBody"]["content"]
        return Draft202012Validator(content[media]["schema"]).is_valid(body)

    def outcome() -> tuple[int, int]:
        counts = caller.api("GET", "/sources/test-server/counts")["total"]
        return counts["stored"], counts["quarantined"]

    stored = quarantined = 0
    for kind, messages in MESSAGES.items():
        for message, fits in messages:
            for path, body in (
                (f"/v1/{kind}", message),
                (f"/v1/{kind[0]}", message),
                ("/v1/batch", {"batch": [{"type": kind, **message}]}),
            ):
                assert allows(path, body) is fits, (path, body)
                assert caller.http.post(path, json=body, auth=auth).status_code == 200
                stored, quarantined = stored + fits, quarantined + (not fits)
    for nr, (changed, fits) in enumerate(CLOUDEVENTS):
        event = {**CLOUDEVENT, "id": str(nr), **changed}
        for form, sent in (("cloudevents", event), ("cloudevents-batch", [{**event, "source": "/web"}])):
            media = f"application/{form}+json"
            assert allows("/v1/events", sent, media) is fits, sent
            answer = caller.http.post("/v1/events", json=sent, headers={"Content-Type": media}, auth=auth)
            assert answer.status_code == 200
            stored, quarantined = stored + fits, quarantined + (not fits)
    assert outcome() == (stored, quarantined)
    refused: list[Any] = [{"batch": {}}, {}, [], {"batch": None}]
    for path in ("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch"):
        for bad in refused:
            assert not allows(path, bad)
            assert caller.http.post(path, json=bad, auth=auth).status_code == 400
        assert allows(path, {"batch": []})
    assert all(not allows(f"/v1/{kind}", []) for kind in EVENT_TYPES)
