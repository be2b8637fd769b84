"""The clients of servers, unchanged: Segment's and Rudder's for Python and Node, and Rudder's service worker.

All run at once, before the first test; the tests look at what each sent, was answered and said.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from clients_world import Call, Server, compare, need_node, run

PYTHON = {
    "segment-python": ["six", "gzip", "retried", "nothing", "refused", "too_large"],
    "rudder-python": ["six", "nothing", "refused", "too_large"],
}
NODE = {
    "segment-node": ["six", "retried", "denied", "refused", "oauth"],
    "rudder-node": ["six", "plain", "retried", "refused"],
    "rudder-worker": ["six"],
}
SLOW, DOWN, BROKEN = {"status": 429, "after": 2}, {"status": 503}, {"status": 500}
NOTHING, REFUSED = {"status": 204}, {"status": 400}
SCRIPT = {
    "segment-python.retried": [SLOW, DOWN],
    "segment-python.nothing": [NOTHING],
    "segment-python.refused": [REFUSED],
    "rudder-python.nothing": [NOTHING],
    "rudder-python.refused": [REFUSED],
    "segment-node.retried": [SLOW, DOWN],
    "segment-node.refused": [REFUSED],
    "rudder-node.retried": [SLOW, BROKEN],
    "rudder-node.refused": [REFUSED],
}


@pytest.fixture(scope="module")
def python(server: Server, outside: Path) -> Any:
    """What the clients for Python said."""
    server.script(SCRIPT)
    return run(server, PYTHON, outside)


@pytest.fixture(scope="module")
def node(server: Server, outside: Path) -> Any:
    """What the clients for Node said."""
    need_node()
    server.script(SCRIPT)
    return run(server, NODE, outside)


def gaps(calls: list[Call]) -> list[float]:
    """Return the seconds from each call to the next."""
    return [after.at - before.at for before, after in pairwise(calls)]


def tries(calls: list[Call]) -> list[str]:
    """Return which try each call says it is; empty for the first."""
    return [call.headers.get("x-retry-count", "") for call in calls]


def ids(call: Call) -> list[str]:
    return [event["messageId"] for event in call.json()["batch"]]


# -- Segment Python ---------------------------------------------------------------------------------


def test_segment_python_six_calls(server: Server, python: Any, request: pytest.FixtureRequest) -> None:
    assert python["segment-python.six"]["failures"] == []
    (call,) = server.calls("segment-python.six")
    assert (call.method, call.path, call.status) == ("POST", "/v1/batch", 200)
    body = call.json()
    assert call.basic == body["writeKey"] + ":"
    assert body["sentAt"].endswith("+00:00")
    identify, track, page, *_ = body["batch"]
    assert (identify["userId"], identify["anonymousId"], page["category"]) == ("42", None, "Docs")
    assert track["timestamp"].startswith("2026-01-02T03:04:05")
    compare(request, "segment-python", server.events("segment-python.six"))


def test_segment_python_gzip(server: Server, python: Any) -> None:
    (call,) = server.calls("segment-python.gzip")
    assert call.headers["content-encoding"] == "gzip"
    assert python["segment-python.gzip"]["failures"] == []
    assert len(server.stored("segment-python.gzip", "u-1")) == 1


def test_segment_python_tries_again_when_told_to(server: Server, python: Any) -> None:
    calls = server.calls("segment-python.retried")
    assert [call.status for call in calls] == [429, 503, 200]
    assert calls[0].answer["retry-after"] == calls[0].answer["x-ratelimit-reset"] == "2"
    limited, broken = gaps(calls)
    assert limited >= 2
    assert broken < limited
    assert tries(calls) == ["", "", "1"]
    assert ids(calls[0]) == ids(calls[1]) == ids(calls[2])
    assert python["segment-python.retried"]["failures"] == []
    assert len(server.stored("segment-python.retried", "u-1")) == 1


def test_segment_python_takes_204_for_success_and_400_for_the_end(server: Server, python: Any) -> None:
    assert [call.status for call in server.calls("segment-python.nothing")] == [204]
    assert python["segment-python.nothing"]["failures"] == []
    assert [call.status for call in server.calls("segment-python.refused")] == [400]
    assert len(python["segment-python.refused"]["failures"]) == 1
    assert "32" in python["segment-python.too_large"]["raised"]
    assert server.calls("segment-python.too_large") == []


# -- Rudder Python ----------------------------------------------------------------------------------


def test_rudder_python_six_calls(server: Server, python: Any, request: pytest.FixtureRequest) -> None:
    assert python["rudder-python.six"]["failures"] == []
    (call,) = server.calls("rudder-python.six")
    assert (call.path, call.status, call.headers["content-encoding"]) == ("/v1/batch", 200, "gzip")
    body = call.json()
    assert call.basic.endswith(":")
    assert "writeKey" not in body
    identify = body["batch"][0]
    assert (identify["integrations"], identify["channel"]) == ({"All": True}, "server")
    assert "traits" not in identify
    compare(request, "rudder-python", server.events("rudder-python.six"))


def test_rudder_python_sends_again_what_is_not_answered_200_and_it_counts_once(
    server: Server, python: Any
) -> None:
    calls = server.calls("rudder-python.nothing")
    assert [call.status for call in calls] == [204, 200]
    assert ids(calls[0]) == ids(calls[1])
    assert python["rudder-python.nothing"]["failures"] == []
    assert len(server.stored("rudder-python.nothing", "u-1")) == 1


def test_rudder_python_stops_at_an_error_that_says_code_and_message(server: Server, python: Any) -> None:
    assert [call.status for call in server.calls("rudder-python.refused")] == [400]
    (failure,) = python["rudder-python.refused"]["failures"]
    assert "malformed_body" in failure
    assert [call.status for call in server.calls("rudder-python.too_large")] == [400]
    (failure,) = python["rudder-python.too_large"]["failures"]
    assert "too_large" in failure


# -- Segment Node -----------------------------------------------------------------------------------


def test_segment_node_six_calls(server: Server, node: Any, request: pytest.FixtureRequest) -> None:
    assert node["segment-node.six"]["errors"] == []
    (call,) = server.calls("segment-node.six")
    assert (call.method, call.path, call.status) == ("POST", "/v1/batch", 200)
    assert call.headers["user-agent"] == "analytics-node-next/latest"
    assert "content-encoding" not in call.headers
    page = call.json()["batch"][2]
    assert page["messageId"].startswith("node-next-")
    assert set(page["_metadata"]) >= {"nodeVersion", "jsRuntime"}
    assert page["properties"]["category"] == "Docs"
    compare(request, "segment-node", server.events("segment-node.six"))


def test_segment_node_tries_again_when_told_to(server: Server, node: Any) -> None:
    calls = server.calls("segment-node.retried")
    assert [call.status for call in calls] == [429, 503, 200]
    assert tries(calls) == ["", "1", "2"]
    assert gaps(calls)[0] >= 2
    assert node["segment-node.retried"]["errors"] == []
    assert len(server.stored("segment-node.retried", "u-1")) == 1


def test_segment_node_drops_what_is_refused(server: Server, node: Any) -> None:
    assert node["segment-node.denied"]["errors"] == ["delivery_failure"]
    assert [call.status for call in server.calls("segment-node.refused")] == [400]
    assert node["segment-node.refused"]["errors"] == ["delivery_failure"]


def test_segment_node_with_a_token_of_an_authorisation_server(server: Server, node: Any) -> None:
    (call,) = server.calls("segment-node.oauth")
    assert call.headers["authorization"] == "Bearer a-token"
    assert call.json()["writeKey"] == server.keys["segment-node.oauth"]
    assert (call.status, node["segment-node.oauth"]["errors"]) == (200, [])
    assert len(server.stored("segment-node.oauth", "u-1")) == 1


# -- Rudder Node and service worker -----------------------------------------------------------------


def test_rudder_node_six_calls(server: Server, node: Any, request: pytest.FixtureRequest) -> None:
    assert node["rudder-node.six"]["errors"] == []
    calls = server.calls("rudder-node.six")
    assert [len(call.json()["batch"]) for call in calls] == [1, 5]
    for call in calls:
        assert call.headers["content-type"] == "application/x-www-form-urlencoded"
        assert (call.headers["content-encoding"], call.path, call.status) == ("gzip", "/v1/batch", 200)
        assert "sentAt" in call.json()
        for event in call.json()["batch"]:
            assert "timestamp" not in event
            assert {"originalTimestamp", "sentAt"} <= set(event)
    compare(request, "rudder-node", server.events("rudder-node.six"))


def test_rudder_node_without_gzip(server: Server, node: Any) -> None:
    assert node["rudder-node.plain"]["errors"] == []
    (call,) = server.calls("rudder-node.plain")
    assert call.headers["content-type"].startswith("application/json")
    assert len(server.stored("rudder-node.plain", "u-1")) == 1


def test_rudder_node_tries_again_when_told_to(server: Server, node: Any) -> None:
    calls = server.calls("rudder-node.retried")
    assert [call.status for call in calls] == [429, 500, 200]
    assert gaps(calls)[0] >= 2
    assert node["rudder-node.retried"]["errors"] == []
    assert len(server.stored("rudder-node.retried", "u-1")) == 1
    assert [call.status for call in server.calls("rudder-node.refused")] == [400]
    assert node["rudder-node.refused"]["errors"] == [400]


def test_rudders_service_worker(server: Server, node: Any, request: pytest.FixtureRequest) -> None:
    del node  # has run
    calls = server.calls("rudder-worker.six")
    assert {call.status for call in calls} == {200}
    assert calls[0].headers["user-agent"].startswith("analytics-service-worker/")
    assert {event["channel"] for call in calls for event in call.json()["batch"]} == {"service-worker"}
    compare(request, "rudder-worker", server.events("rudder-worker.six"))
