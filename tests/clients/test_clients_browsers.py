"""The clients of browsers, unchanged, in Chromium: analytics.js with its consent tools, and Rudder's SDK.

Their pages are of one origin, the server of another. All are open at once, each in a profile of its own.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from chromium import Chromium
from clients_browser import CAMPAIGN, Visit, need_browser, site, visit
from clients_world import Call, Server, compare, query

Visits = dict[str, Visit]
SEGMENT = {
    "segment-browser.six": 7,
    "segment-browser.batching": 3,
    "segment-browser.own": 1,
    "segment-browser.retried": 2,
    "segment-browser.limited": 1,
    "segment-browser.refused": 0,
    "segment-browser.unknown": 0,
    "segment-browser.consent": 2,
    "segment-browser.unload": 5,
    "segment-snippet.snippet": 2,
}
RUDDER = {
    "rudder-browser.six": 5,
    "rudder-browser.batching": 3,
    "rudder-browser.beacon": 1,
    "rudder-browser.retried": 1,
    "rudder-browser.consent": 1,
    "rudder-browser.unknown": 0,
}
SCRIPT = {
    "segment-browser.retried": [{"status": 500}],
    "segment-browser.limited": [{"status": 429, "after": 1}],
    "segment-browser.refused": [{"status": 400}],
    "rudder-browser.retried": [{"status": 500}, {"status": 503, "after": 1}],
}


@pytest.fixture(scope="module")
def visits(server: Server, outside: Path) -> Iterator[Visits]:
    """Every page, when all that it sends has come."""
    need_browser()
    server.script(SCRIPT)
    with site() as at, Chromium(outside) as browser:
        yield visit(browser, at, server, {**SEGMENT, **RUDDER})


def sent(server: Server, source: str) -> list[Call]:
    """Return the calls with events, as they came: a browser sends several at once."""
    return server.calls(source, "POST")


# -- analytics.js -----------------------------------------------------------------------------------


def test_analytics_js_fetches_its_settings(server: Server, visits: Visits) -> None:
    source = "segment-browser.six"
    fetched = next(call for call in server.calls(source, "GET"))
    assert fetched.path == f"/v1/projects/{server.keys[source]}/settings"
    assert fetched.status == 200
    assert fetched.answer["access-control-allow-origin"] == visits[source].origin
    assert "not_found" in visits["segment-browser.unknown"].said()["failed"]
    assert server.calls("segment-browser.unknown") == []


def test_analytics_js_seven_calls(server: Server, visits: Visits, request: pytest.FixtureRequest) -> None:
    source = "segment-browser.six"
    calls = sorted(sent(server, source), key=lambda call: (call.path, call.json()["userId"] or ""))
    assert [call.path for call in calls] == [f"/v1/{letter}" for letter in "aagipst"]
    for call in calls:
        assert (call.status, call.headers["content-type"].partition(";")[0]) == (200, "text/plain")
        assert call.json()["writeKey"] == server.keys[source]
        asked = server.preflights(call.path)
        assert asked[0].headers["access-control-request-headers"] == "authorization"
        assert (asked[0].status, asked[0].answer["access-control-max-age"]) == (204, "900")
    anonymous, known = [call.json() for call in calls if call.path == "/v1/a"]
    assert (anonymous["userId"], anonymous["previousId"]) == ("u-41", anonymous["anonymousId"])
    assert known["userId"] == known["previousId"] == "u-42", "the new id is lost: it says nothing"
    campaign = {name.removeprefix("utm_"): value for name, value in CAMPAIGN.items()}
    campaign["name"] = campaign.pop("campaign")
    assert calls[4].json()["context"]["campaign"] == campaign
    cookies = visits[source].cookies()
    assert {"ajs_anonymous_id", "ajs_user_id", "ajs_group_id"} <= set(cookies)
    compare(request, "segment-browser", server.events(source))
    assert {event["context"]["ip"] for event in server.events(source)} == {"127.0.0.1"}


def test_analytics_js_asks_once_for_a_path(server: Server, visits: Visits) -> None:
    del visits  # have come
    alias = [call for call in sent(server, "segment-browser.six") if call.path == "/v1/a"]
    assert (len(alias), len(server.preflights("/v1/a"))) == (2, 1)


def test_analytics_js_in_batches(server: Server, visits: Visits) -> None:
    (call,) = sent(server, "segment-browser.batching")
    body = call.json()
    assert (call.path, call.status, len(body["batch"])) == ("/v1/b", 200, 3)
    assert "sentAt" in body
    assert not any("sentAt" in event for event in body["batch"])
    late = sent(server, "segment-browser.unload")
    assert {call.path for call in late} == {"/v1/b"}
    assert all(len(call.body) <= 64_000 for call in late)
    assert visits["segment-browser.unload"].page.look("location.pathname") == "/pages/empty.html"


def test_analytics_js_with_a_host_of_its_own_and_cookies_along(server: Server, visits: Visits) -> None:
    (call,) = sent(server, "segment-browser.own")
    assert (call.path, call.status) == ("/v1/t", 200)
    assert call.answer["access-control-allow-credentials"] == "true"
    assert call.answer["access-control-allow-origin"] == visits["segment-browser.own"].origin


def test_analytics_js_tries_again(server: Server, visits: Visits) -> None:
    del visits  # have come
    calls = sent(server, "segment-browser.retried")
    assert [call.status for call in calls] == [500, 200, 200]
    first, overtook, again = calls
    assert overtook.json()["messageId"] != first.json()["messageId"] == again.json()["messageId"]
    assert again.headers["x-retry-count"] == "1"
    assert again.json()["_metadata"]["retryCount"] >= 1
    asked = {call.headers["access-control-request-headers"] for call in server.preflights("/v1/t")}
    assert "authorization,x-retry-count" in asked
    limited, later = sent(server, "segment-browser.limited")
    assert (limited.status, later.status) == (429, 200)
    assert limited.answer["access-control-expose-headers"] == "Retry-After, X-RateLimit-Reset"
    assert later.at - limited.at >= 1


def test_analytics_js_drops_what_is_refused(server: Server, visits: Visits) -> None:
    del visits  # have come
    assert [call.status for call in sent(server, "segment-browser.refused")] == [400]


def test_analytics_js_by_its_snippet(server: Server, visits: Visits) -> None:
    assert visits["segment-snippet.snippet"].said() == {}
    assert {call.path for call in sent(server, "segment-snippet.snippet")} == {"/v1/t", "/v1/p"}


def test_analytics_js_with_consent_tools(server: Server, visits: Visits) -> None:
    del visits  # have come
    stamped, changed = server.events("segment-browser.consent")
    assert stamped["context"]["consent"] == {"categoryPreferences": {"Advertising": False, "Analytics": True}}
    assert ["analytics", "granted"] in stamped["said"]
    assert changed["name"] == "Segment Consent Preference Updated"
    assert ["analytics", "withdrawn"] in changed["said"]


# -- Rudder -----------------------------------------------------------------------------------------


def test_rudder_fetches_its_source(server: Server, visits: Visits) -> None:
    source = "rudder-browser.six"
    fetched = next(call for call in server.calls(source, "GET"))
    assert (fetched.path, fetched.status) == ("/sourceConfig/", 200)
    assert fetched.basic == f"{query(fetched)['writeKey']}:"
    asked = server.preflights("/sourceConfig/")[0]
    assert (asked.status, asked.headers["access-control-request-headers"]) == (204, "authorization")
    assert visits["rudder-browser.unknown"].said() == {}
    assert server.calls("rudder-browser.unknown") == []


def test_rudder_five_calls(server: Server, visits: Visits, request: pytest.FixtureRequest) -> None:
    source = "rudder-browser.six"
    calls = sorted(sent(server, source), key=lambda call: call.path)
    assert [call.path.rpartition("/")[2] for call in calls] == ["alias", "group", "identify", "page", "track"]
    for call in calls:
        assert call.status == 200
        anonymous = base64.b64decode(call.headers["anonymousid"]).decode()
        assert anonymous == call.json()["anonymousId"]
        assert "sentat" in call.headers
        asked = server.preflights(call.path)[0].headers["access-control-request-headers"]
        assert asked == "anonymousid,authorization,content-type,sentat"
    alias, _, identify, page, track = [call.json() for call in calls]
    assert page["userId"] == ""
    assert {"sessionId", "sessionStart"} <= set(page["context"])
    assert "traits" not in identify
    assert track["context"]["traits"]["plan"] == "gold"
    assert (alias["userId"], alias["previousId"]) == ("u-43", "u-42")
    compare(request, "rudder-browser", server.events(source))
    kept = unquote(visits[source].cookies()["rl_anonymous_id"])
    prefix = "RS_ENC_v3_"
    assert json.loads(base64.b64decode(kept.removeprefix(prefix))) == page["anonymousId"]
    tracked = next(event for event in server.events(source) if event["type"] == "track")
    assert tracked["traits"] == {}, "the traits beside an event are no identify"


def test_rudder_in_batches(server: Server, visits: Visits) -> None:
    del visits  # have come
    (call,) = sent(server, "rudder-browser.batching")
    assert (call.path, call.status, len(call.json()["batch"])) == ("/v1/batch", 200, 3)


def test_rudder_by_beacon(server: Server, visits: Visits) -> None:
    del visits  # have come
    (call,) = sent(server, "rudder-browser.beacon")
    key = server.keys["rudder-browser.beacon"]
    assert (call.path, call.status, query(call)["writeKey"]) == ("/beacon/v1/batch", 200, key)
    assert call.headers["content-type"].startswith("text/plain")
    assert "authorization" not in call.headers
    assert server.preflights("/beacon/v1/batch") == []


def test_rudder_tries_again(server: Server, visits: Visits) -> None:
    del visits  # have come
    calls = sent(server, "rudder-browser.retried")
    assert [call.status for call in calls] == [500, 503, 200]
    assert len({call.json()["messageId"] for call in calls}) == 1
    last = calls[-1].headers
    assert last["rsa-retry-attempt"] == "2"
    assert {"rsa-since-last-attempt", "rsa-since-first-attempt", "rsa-retry-reason"} <= set(last)


def test_rudder_with_consent_management(server: Server, visits: Visits) -> None:
    del visits  # have come
    (event,) = server.events("rudder-browser.consent")
    told = event["context"]["consentManagement"]
    assert (told["allowedConsentIds"], told["deniedConsentIds"]) == (["C0002"], ["C0004"])
    assert ["analytics", "granted"] in event["said"]
    assert ["marketing.advertising.first_party", "refused"] in event["said"]
