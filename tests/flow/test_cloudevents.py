"""CloudEvents 1.0 at /v1/events: each content mode, what becomes of an event, and what is refused how."""

from __future__ import annotations

import base64
import gzip
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest
from caller import Caller
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from served import served

from cdp import app
from cdp.settings import Settings

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
REQUIRED = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "com.example.order.placed"}


def post(
    caller: Caller, body: object, content_type: str = STRUCTURED, *, expect: int = 200, **headers: Any
) -> dict[str, Any]:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    sent = {"Content-Type": content_type, **{name.replace("_", "-"): held for name, held in headers.items()}}
    answer = caller.http.post(
        "/v1/events", content=content, headers=sent, auth=(caller.write_key("server"), "")
    )
    assert answer.status_code == expect, answer.text
    found = answer.json()
    assert isinstance(found, dict)
    return found


def event(**more: Any) -> dict[str, Any]:
    return {**REQUIRED, "subject": "user-1", **more}


def events_of(caller: Caller, user: str, type_: str = "user_id") -> list[dict[str, Any]]:
    profile = caller.lookup(type_, user)["id"]
    found = caller.api("GET", f"/profiles/{profile}/events", purpose="data_quality")["items"]
    return [item for item in found if isinstance(item, dict)]


def quarantined(caller: Caller) -> list[str]:
    return [item["cause"] for item in caller.api("GET", "/quarantine?kind=adapter_failure")["items"]]


def test_each_content_mode_is_taken_and_an_event_counts_once_by_source_and_id(caller: Caller) -> None:
    done = {"success": True}
    assert post(caller, event(data={"revenue": 3}, time="2026-02-03T04:05:06+01:00")) == done
    binary: dict[str, Any] = {f"ce_{name}": value for name, value in REQUIRED.items()}
    assert post(caller, {"revenue": 3}, "application/json", **binary, ce_subject="user-1") == done
    assert post(caller, [event(), event(id="2"), event(source="/till", datacontenttype=None)], BATCH) == done
    assert post(caller, [], BATCH) == done
    post(caller, gzip.compress(msgspec.json.encode(event(id="3"))), content_encoding="gzip")
    # the same id of another source is another event; undated ones are other days' for de-duplication
    found = events_of(caller, "user-1")
    assert len(found) == 5, found
    assert {item["name"] for item in found} == {"com.example.order.placed"}
    assert any(item["occurred_at"] == "2026-02-03T03:05:06Z" for item in found)
    assert post(caller, event(data={"revenue": 3}, time="2026-02-03T04:05:06+01:00")) == done
    assert len(events_of(caller, "user-1")) == 5
    assert quarantined(caller) == []


def test_what_an_event_becomes(caller: Caller) -> None:
    message = {"type": "identify", "userId": "user-2", "traits": {"plan": "gold"}, "messageId": "m-2"}
    post(caller, event(id="a", data=message))
    post(caller, event(id="b", data=message))  # the message's own id stands
    assert [item["type"] for item in events_of(caller, "user-2")] == ["identify"]
    post(caller, event(id="c", type="com.segment.page", data={"name": "Home", "anonymousId": "browser-3"}))
    assert [item["name"] for item in events_of(caller, "browser-3", "anonymous_id")] == ["Home"]
    post(caller, event(id="d", subject="anon:browser-4", data={"price": 1}))
    assert len(events_of(caller, "browser-4", "anonymous_id")) == 1
    post(caller, event(id="e", subject="orders/17", data={"userId": "user-5", "price": 1}))
    assert len(events_of(caller, "user-5")) == 1
    nobody = {"type": "user_id", "value": "orders/17"}
    caller.api("POST", "/profiles/lookup", nobody, purpose="data_quality", expect=404)
    encoded = base64.b64encode(b'{"price": 2}').decode()
    post(caller, event(id="f", subject="user-6", data_base64=encoded, traceparent="00-1-2-01", myflag=True))
    assert len(events_of(caller, "user-6")) == 1
    assert quarantined(caller) == []


def test_headers_of_the_binary_mode_are_decoded_once(caller: Caller) -> None:
    binary: dict[str, Any] = {f"ce_{name}": value for name, value in REQUIRED.items()}
    post(caller, b"", "application/json", **binary, ce_subject="J%C3%B6rg%2525%20B")
    assert len(events_of(caller, "Jörg%25 B")) == 1
    post(caller, b"", "", **{**binary, "ce_id": '"quo\\"ted"'}, ce_subject='"user-7"')
    assert len(events_of(caller, "user-7")) == 1
    for bad in ("%C0%A0", "%ff"):
        refused = post(caller, b"", "application/json", **binary, ce_subject=bad, expect=400)
        assert refused["code"] == "malformed_body"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_is_no_cloud_event_is_refused_whole(caller: Caller) -> None:
    binary: dict[str, Any] = {f"ce_{name}": value for name, value in REQUIRED.items()}
    refused = [
        post(caller, b'{"specversion"', expect=400),
        post(caller, b"[]", expect=400),
        post(caller, event(), BATCH, expect=400),
        post(caller, event(), "application/json", expect=400),
        post(caller, b"{", "application/json", **binary, expect=400),
        post(caller, b"\xff", BATCH, expect=400),
        post(caller, b"{}", "application/json", **binary, ce_data="x", expect=400),
        post(caller, event(data="x" * 40_000), expect=400),
        post(caller, b"no gzip", content_encoding="gzip", expect=400),
    ]
    assert [set(answer) for answer in refused] == [{"code", "message"}] * len(refused)
    assert {answer["code"] for answer in refused} == {"malformed_body", "too_large"}
    for content_type in ("application/cloudevents+avro", "application/cloudevents-batch+protobuf"):
        assert post(caller, b"x", content_type, expect=415)["code"] == "unsupported_media_type"
    for credentials in ({}, {"Authorization": "Bearer nobody"}):
        answer = caller.http.post("/v1/events", json=event(), headers=credentials)
        assert (answer.status_code, set(answer.json())) == (401, {"code", "message"})
    assert caller.api("GET", "/quarantine")["items"] == []


def test_what_breaks_a_rule_goes_to_quarantine_and_its_neighbours_land(caller: Caller) -> None:
    bad = [
        event(specversion="0.3"), event(id=""), event(source=None), event(type=7), event(time="yesterday"),
        event(data=[1]), event(data="text", datacontenttype="text/plain"), event(data={}, data_base64="e30="),
        event(data_base64="!"), event(data_base64="eA=="), event(myField="x"), event(extension={"a": 1}),
        event(extension=1 << 31), event(subject="a\nb"), event(subject=None), 17,
    ]  # fmt: skip
    post(caller, [*bad, event(id="good")], BATCH)
    assert len(events_of(caller, "user-1")) == 1
    causes = quarantined(caller)
    assert len(causes) == len(bad), causes
    assert "the name of an attribute is not of lower-case letters and digits" in causes
    binary: dict[str, Any] = {f"ce_{name}": value for name, value in REQUIRED.items() if name != "id"}
    post(caller, b"a,b", "text/csv", **binary, ce_id="csv", ce_subject="user-1")
    assert quarantined(caller)[-1] == "datacontenttype is not JSON"
    replayed = caller.api("POST", "/quarantine/replay")
    assert (replayed["received"], replayed["quarantined"]) == (len(bad) + 1, len(bad) + 1)
    assert len(quarantined(caller)) == len(bad) + 1, "what fails again stays"


def test_a_page_of_any_site_may_send_and_a_sender_that_asks_is_told_yes(caller: Caller) -> None:
    asked = {"Origin": "https://shop.example.org", "Access-Control-Request-Method": "POST"}
    preflight = caller.http.options("/v1/events", headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "https://shop.example.org"
    handshake = caller.http.options("/v1/events", headers={"WebHook-Request-Origin": "eventgrid.example.com"})
    assert handshake.status_code == 200
    assert handshake.headers["webhook-allowed-origin"] == "eventgrid.example.com"
    assert handshake.headers["webhook-allowed-rate"] == "*"


def test_the_real_sdk_delivers_in_every_mode(settings: Settings) -> None:
    """Its calls as it makes them; it has none for batches, which are put together from its JSON."""
    operator = (settings.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
    json = JSONFormat()

    def made(number: int, **more: Any) -> CloudEvent:
        attributes = {
            "id": f"sdk-{number}",
            "source": "https://shop.example.com/till",
            "type": "com.example.order.placed",
            "subject": "käufer 1",
            "time": datetime(2026, 1, 2, 3, 4, number, tzinfo=UTC),
            "datacontenttype": "application/json",
            **more,
        }
        return CloudEvent(attributes=attributes, data={"revenue": number})

    with served(settings) as (url, _), httpx.Client(base_url=url) as http:
        api = {"Authorization": f"Bearer {operator}"}
        source = http.post("/api/v1/sources", json={"name": "till", "kind": "server"}, headers=api).json()
        own = {"Authorization": f"Bearer {source['write_key']}"}

        def deliver(message: HTTPMessage) -> None:
            answer = http.post("/v1/events", content=message.body, headers={**message.headers, **own})
            assert (answer.status_code, answer.json()) == (200, {"success": True}), answer.text

        for _ in range(2):
            deliver(to_binary_event(made(1)))
            deliver(to_structured_event(made(2)))
            batch = b"[" + b",".join(bytes(json.write(made(number))) for number in (3, 4)) + b"]"
            deliver(HTTPMessage({"content-type": BATCH}, batch))
        body = {"type": "user_id", "value": "käufer 1"}
        held = {**api, "CDP-Purpose": "data_quality"}
        profile = http.post("/api/v1/profiles/lookup", json=body, headers=held).json()["id"]
        found = http.get(f"/api/v1/profiles/{profile}/events", headers=held).json()["items"]
        assert [item["occurred_at"] for item in found] == [f"2026-01-02T03:04:0{n}Z" for n in (4, 3, 2, 1)]
