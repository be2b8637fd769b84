"""Every route, form of a write key and quirk of docs/clients.md, as a caller without a client meets it."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import httpx
import msgspec
import pytest
from caller import Caller
from prometheus_client import REGISTRY

from cdp.ingest import Event

EVENT = {"userId": "u-1", "event": "Product Viewed"}
TYPES = ["identify", "track", "page", "screen", "group", "alias"]
BROWSER_ROUTES = ["/v1/m", "/rsaMetrics", "/rsaRequest", "/beacon/v1/batch"]


class Heard:
    """What becomes of each event that the platform takes, as its pipeline reads it."""

    def __init__(self, caller: Caller) -> None:
        self.events: list[Event] = []
        self.rejects: list[str] = []
        self._prepare = caller.services.pipeline.prepare
        caller.services.pipeline.prepare = self._listen  # type: ignore[method-assign]  # to look at the records

    def _listen(self, deliveries: Any, replay: Any = None) -> Any:
        prepared = self._prepare(deliveries, replay)
        self.events += [item.classified.event for item in prepared.events]
        self.rejects += [reject.reason for reject in prepared.rejects]
        return prepared

    def one(self) -> Event:
        """Return the one event since the last look."""
        (event,), self.events[:] = list(self.events), []
        return event


@pytest.fixture
def heard(caller: Caller) -> Heard:
    return Heard(caller)


def basic(user: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(user.encode()).decode()}


def post(caller: Caller, path: str, body: object, **headers: str) -> httpx.Response:
    return caller.http.post(path, content=msgspec.json.encode(body), headers=headers)


def refused(answer: httpx.Response, status: int) -> str:
    """Return the code of an error as clients read it: JSON with two texts."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert isinstance(body["message"], str)
    return str(body["code"])


def test_every_route_takes_its_events(caller: Caller, heard: Heard) -> None:
    key = caller.write_key()
    single = [(f"/v1/{kind}", kind) for kind in TYPES] + [(f"/v1/{kind[0]}", kind) for kind in TYPES]
    for path, kind in single:
        body = {**EVENT, "writeKey": key, "previousId": "u-0"}
        assert post(caller, path, body, **{"Content-Type": "text/plain"}).json() == {"success": True}
        assert heard.one().type == kind
    for path in ("/v1/batch", "/v1/b", "/v1/import"):
        batch = {"batch": [{**EVENT, "type": "track"}], "writeKey": key}
        assert post(caller, path, batch).status_code == 200
        assert heard.one().type == "track"
    assert post(caller, "/v1/track/", {**EVENT, "writeKey": key}).status_code == 200
    assert heard.one().type == "track"
    assert heard.rejects == []


def test_a_write_key_in_each_place_that_clients_put_it(caller: Caller, heard: Heard) -> None:
    key, other, browser = caller.write_key(), caller.write_key("import"), caller.write_key("browser")
    bearer = {"Authorization": f"Bearer {key}"}
    for headers in (basic(key + ":"), basic(key), bearer):
        assert post(caller, "/v1/track", EVENT, **headers).status_code == 200
    token = {"Authorization": "Bearer token-of-another-server"}
    assert post(caller, "/v1/track", {**EVENT, "writeKey": key}, **token).status_code == 200
    assert refused(post(caller, "/v1/track", EVENT, **token), 401) == "not_authenticated"
    assert refused(post(caller, "/v1/track", EVENT), 401) == "not_authenticated"
    disagreeing = post(caller, "/v1/track", {**EVENT, "writeKey": other}, **basic(key + ":"))
    assert refused(disagreeing, 401) == "not_authenticated"
    batch = {"batch": [{**EVENT, "type": "track"}]}
    beacon = f"/beacon/v1/batch?writeKey={browser}"
    heard.events.clear()
    assert post(caller, beacon, batch).status_code == 200
    assert post(caller, beacon, {**batch, "writeKey": browser}, **basic(browser + ":")).status_code == 200
    assert len(heard.events) == 2
    assert refused(post(caller, beacon, batch, **basic(key + ":")), 401) == "not_authenticated"
    assert refused(post(caller, beacon, {**batch, "writeKey": key}), 401) == "not_authenticated"
    assert refused(post(caller, f"/beacon/v1/batch?writeKey={key}", batch), 403) == "not_permitted"
    assert refused(post(caller, f"/v1/track?writeKey={browser}", EVENT), 401) == "not_authenticated"
    assert len(heard.events) == 2


def test_whatever_the_content_type_says(caller: Caller, heard: Heard) -> None:
    body = msgspec.json.encode({"batch": [{**EVENT, "type": "track"}], "writeKey": caller.write_key()})
    kinds = ["application/json;charset=UTF-8", "text/plain", "application/x-www-form-urlencoded", ""]
    for kind in kinds:
        headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
        assert caller.http.post("/v1/batch", content=gzip.compress(body), headers=headers).status_code == 200
        assert caller.http.post("/v1/batch", content=body, headers={"Content-Type": kind}).status_code == 200
    assert len(heard.events) == 2 * len(kinds)


def test_every_failure_says_a_code_and_a_message(caller: Caller) -> None:
    auth = basic(caller.write_key() + ":")
    unpacked = caller.http.post("/v1/batch", content=b"{}", headers={"Content-Encoding": "gzip", **auth})
    assert refused(unpacked, 400) == "malformed_body"
    large = {"batch": [{**EVENT, "properties": {"text": "x" * 600_000}}]}
    assert refused(post(caller, "/v1/batch", large, **auth), 400) == "too_large"
    many = {"batch": [EVENT] * 2501}
    assert refused(post(caller, "/v1/batch", many, **auth), 400) == "too_large"
    deep = b'{"batch":[],"context":' + b"[" * 3000 + b"]" * 3000 + b"}"
    for odd in (deep, b'{"batch":[],"context":"\xff"}', b'{"batch":[],"integrations":"\xff"}'):
        assert refused(caller.http.post("/v1/batch", content=odd, headers=auth), 400) == "malformed_body"
    for path in (
        "/v1/unknown",
        "/v1/",
        "/v1/pixel/unknown",
        "/v1/projects/x",
        "/beacon/v1/track",
        "/pixel/v1",
    ):
        assert refused(caller.http.get(path), 404) == "not_found"
    for path in ("/v1/track", "/v1/batch", *BROWSER_ROUTES):
        answer = caller.http.get(path)
        assert refused(answer, 405) == "method_not_allowed"
        assert "POST" in answer.headers["allow"]
    for path in ("/sourceConfig/", "/pixel/v1/track", "/v1/pixel/track"):
        assert refused(caller.http.post(path, content=b"{}"), 405) == "method_not_allowed"


def test_an_address_with_an_extra_slash_is_no_redirect(caller: Caller) -> None:
    auth = basic(caller.write_key() + ":")
    for path in ("//v1/batch", "/v1//batch", "/v1/batch/"):
        body = {"batch": [{**EVENT, "type": "track"}]}
        answer = caller.http.post(f"http://testserver.local{path}", json=body, headers=auth)
        assert answer.status_code in {200, 404}, path
        assert answer.status_code == 200 or refused(answer, 404)


def test_settings_for_analytics_js(caller: Caller) -> None:
    key = caller.write_key("browser")
    answer = caller.http.get(f"/v1/projects/{key}/settings", headers={"Origin": "https://shop.example.org"})
    assert answer.headers["access-control-allow-origin"] == "https://shop.example.org"
    settings = answer.json()
    assert list(settings["integrations"]) == ["Segment.io"]
    own = settings["integrations"]["Segment.io"]
    assert (own["apiKey"], own["apiHost"], own["protocol"]) == (key, "127.0.0.1:8000/v1", "http")
    assert settings["metrics"] == {"sampleRate": 0}
    assert refused(caller.http.get("/v1/projects/unknown/settings"), 404) == "not_found"
    server = caller.http.get(f"/v1/projects/{caller.write_key()}/settings")
    assert refused(server, 403) == "not_permitted"


def test_settings_for_rudders_browser_sdk(caller: Caller) -> None:
    key = caller.write_key("browser")
    for path in ("/sourceConfig/", "/sourceConfig"):
        answer = caller.http.get(path, params={"writeKey": key, "p": "web"}, headers=basic(key + ":"))
        source = answer.json()["source"]
        assert (source["enabled"], source["writeKey"], source["destinations"]) == (True, key, [])
    wrong = caller.http.get("/sourceConfig/", params={"writeKey": key}, headers=basic("other:"))
    assert refused(wrong, 401) == "not_authenticated"
    assert refused(caller.http.get("/sourceConfig/"), 401) == "not_authenticated"


def test_what_clients_measure_of_themselves_is_let_go(caller: Caller, heard: Heard) -> None:
    series = {"series": [{"type": "Counter", "metric": "analytics_js.invoke", "value": 1, "tags": {}}]}
    for path in ("/v1/m", "/rsaMetrics", "/rsaRequest"):
        answer = post(caller, path, series, Origin="https://shop.example.org")
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
        assert answer.headers["access-control-allow-credentials"] == "true"
    assert (heard.events, heard.rejects) == ([], [])


def test_every_route_of_a_browser_answers_a_preflight(caller: Caller) -> None:
    asked = {
        "Origin": "https://shop.example.org",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,rsa-retry-attempt,rsa-recovered",
    }
    paths = ["/v1/projects/x/settings", "/sourceConfig/", "/v1/b", *(f"/v1/{kind[0]}" for kind in TYPES)]
    for path in [*paths, *BROWSER_ROUTES]:
        answer = caller.http.options(path, headers=asked)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-headers"] == asked["Access-Control-Request-Headers"]


@pytest.mark.parametrize("form", ["base64", "base64url", "unpadded", "json"])
def test_segments_pixel(caller: Caller, heard: Heard, form: str) -> None:
    event = {
        "writeKey": caller.write_key("browser"),
        "userId": "u-1",
        "event": "Email Opened",
        "properties": {"subject": "¿Qué? ÿ>>>"},
    }
    text = msgspec.json.encode(event)
    coded = base64.urlsafe_b64encode(text) if form == "base64url" else base64.b64encode(text)
    data = text if form == "json" else coded.rstrip(b"=") if form == "unpadded" else coded
    assert_pixel(caller.http.get("/v1/pixel/track", params={"data": data.decode()}))
    taken = heard.one()
    assert (taken.name, taken.properties) == ("Email Opened", event["properties"])
    assert taken.context["ip"] == "testclient"


def test_rudders_pixel(caller: Caller, heard: Heard) -> None:
    given = {
        "writeKey": caller.write_key("browser"),
        "anonymousId": "a-1",
        "event": "Email Opened",
        "properties.campaign.name": "spring",
        "context.page.path": "/mail",
    }
    assert_pixel(caller.http.get("/pixel/v1/track", params=given))
    taken = heard.one()
    assert (taken.type, taken.name, taken.identifiers) == (
        "track",
        "Email Opened",
        (("anonymous_id", "a-1"),),
    )
    assert taken.properties == {"campaign": {"name": "spring"}}
    assert taken.context["page"] == {"path": "/mail"}
    assert_pixel(caller.http.get("/pixel/v1/page", params={**given, "name": "Mail"}))
    assert heard.one().name == "Mail"


def test_a_pixel_is_an_image_whatever_becomes_of_it_and_what_is_lost_is_counted(
    caller: Caller, heard: Heard
) -> None:
    key, server = caller.write_key("browser"), caller.write_key()
    before = lost()
    for data in ("", "%", "e30", "[]", '{"writeKey": 1}', '{"writeKey": "unknown"}', '{"a": "\x00"}'):
        assert_pixel(caller.http.get("/v1/pixel/track", params={"data": data}))
    event = {"userId": "u-1", "event": "Opened", "writeKey": server}
    assert_pixel(caller.http.get("/v1/pixel/track", params={"data": msgspec.json.encode(event).decode()}))
    for query in (f"writeKey={key}&a=1&a.b=2", f"writeKey={key}&a.b=1&a=2", "a." * 50 + f"=1&writeKey={key}"):
        assert_pixel(caller.http.get(f"/pixel/v1/track?{query}"))
    assert (heard.events, heard.rejects) == ([], [])
    gone = {reason: count - before.get(reason, 0) for reason, count in lost().items()}
    assert sum(gone.values()) == 11
    assert gone["malformed-body"] == 6
    assert gone["not-authenticated"] == 3
    assert gone["not-permitted"] == 1
    assert gone["invalid-input"] == 1
    assert_pixel(caller.http.get(f"/pixel/v1/track?writeKey={key}&event=Opened"))
    assert heard.rejects == ["no_identifier"], "which is in quarantine"


def assert_pixel(answer: httpx.Response) -> None:
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/gif"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content[:6] == b"GIF89a"


def lost() -> dict[str, float]:
    """Return how many pixels became no event, by reason."""
    found = (metric for metric in REGISTRY.collect() if metric.name == "cdp_ingest_pixels_lost")
    samples = (sample for metric in found for sample in metric.samples if sample.name.endswith("_total"))
    return {sample.labels["reason"]: sample.value for sample in samples}


def test_the_address_of_a_browser_and_of_a_direct_call_is_told(caller: Caller, heard: Heard) -> None:
    browser, server = caller.write_key("browser"), caller.write_key()

    def ip(key: str, context: object) -> object:
        assert post(caller, "/v1/track", {**EVENT, "context": context}, **basic(key)).status_code == 200
        return heard.one().context.get("ip")

    assert ip(browser, {}) == ip(browser, {"ip": None}) == ip(server, {"direct": True}) == "testclient"
    assert ip(browser, {"ip": "203.0.113.7"}) == ip(server, {"ip": "203.0.113.7"}) == "203.0.113.7"
    assert ip(server, {}) is None
    assert ip(server, {"direct": "true"}) is None


def test_integrations_of_a_batch_go_under_those_of_each_event(caller: Caller, heard: Heard) -> None:
    event = {**EVENT, "type": "track"}
    batch = {
        "batch": [event, {**event, "integrations": {"All": True}}, {**event, "integrations": "x"}, 7],
        "integrations": {"All": False, "Mail": True},
    }
    assert post(caller, "/v1/batch", batch, **basic(caller.write_key())).status_code == 200
    first, second, third = heard.events
    assert first.rest["integrations"] == {"All": False, "Mail": True}
    assert second.rest["integrations"] == {"All": True, "Mail": True}
    assert third.rest["integrations"] == "x"
    assert heard.rejects == ["malformed"]
    large = {"batch": [event], "integrations": {"x" * 3000: True}, "context": {"y" * 3000: True}}
    assert refused(post(caller, "/v1/batch", large, **basic(caller.write_key())), 400) == "too_large"


def test_traits_beside_events_are_no_identify(caller: Caller, heard: Heard) -> None:
    context = {"traits": {"email": "ada@shop.example", "plan": "free"}}
    auth = basic(caller.write_key())
    post(caller, "/v1/track", {**EVENT, "context": context}, **auth)
    event = heard.one()
    assert (event.traits, event.identifiers) == ({}, (("user_id", "u-1"),))
    post(caller, "/v1/identify", {"userId": "u-1", "context": context, "traits": {"plan": "gold"}}, **auth)
    event = heard.one()
    assert event.traits == {"email": "ada@shop.example", "plan": "gold"}
    assert "traits" not in event.context
    post(caller, "/v1/identify", {"userId": "", "anonymousId": 42, "context": context}, **auth)
    assert ("anonymous_id", "42") in heard.one().identifiers


def test_an_alias_to_itself_links_nobody(caller: Caller, heard: Heard) -> None:
    said = {"userId": "u-1", "previousId": "u-1"}
    assert post(caller, "/v1/alias", said, **basic(caller.write_key())).status_code == 200
    assert heard.one().identifiers == (("user_id", "u-1"),)
