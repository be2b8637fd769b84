"""What a browser asks before it sends events, and what it must be told so that it may read the answer."""

from __future__ import annotations

import pytest
from caller import Caller

SITE = "https://shop.example.org"
HEADERS = "anonymousid,authorization,content-type,sentat"
ROUTES = ["identify", "track", "page", "screen", "group", "alias", "batch", "import"]


def preflight(caller: Caller, path: str) -> dict[str, str]:
    asked = {
        "Origin": SITE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": HEADERS,
    }
    answer = caller.http.options(path, headers=asked)
    assert answer.status_code in {204, 404, 405}, answer.text
    return {"status": str(answer.status_code), **answer.headers}


def test_every_ingest_route_answers_a_preflight(caller: Caller) -> None:
    for route in ROUTES:
        answer = preflight(caller, f"/v1/{route}")
        assert answer["status"] == "204"
        assert answer["access-control-allow-origin"] == SITE
        assert answer["access-control-allow-methods"] == "GET, POST, OPTIONS"
        assert answer["access-control-allow-headers"] == HEADERS
        assert answer["access-control-max-age"] == "900"
        assert answer["vary"] == "Origin"
        assert answer["access-control-allow-credentials"] == "true"


def test_options_without_an_origin_names_the_methods(caller: Caller) -> None:
    answer = caller.http.options("/v1/batch")
    assert answer.status_code == 204
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("valid", [True, False], ids=["stored", "refused"])
def test_a_page_may_read_the_answer_to_a_post(caller: Caller, valid: bool) -> None:  # noqa: FBT001  # a parameter of the test
    key = caller.write_key("browser") if valid else "wrong"
    event = {"userId": "u1", "event": "Seen"}
    answer = caller.http.post("/v1/track", json=event, auth=(key, ""), headers={"Origin": SITE})
    assert answer.status_code == (200 if valid else 401)
    assert answer.headers["access-control-allow-origin"] == SITE
    assert answer.headers["access-control-expose-headers"] == "Retry-After, X-RateLimit-Reset"
    assert answer.headers["vary"] == "Origin"


def test_a_server_that_sends_events_is_told_nothing_of_browsers(caller: Caller) -> None:
    answer = caller.http.post("/v1/track", json={"userId": "u1", "event": "Seen"}, auth=("wrong", ""))
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"


def test_no_page_of_another_site_reads_any_other_route(caller: Caller) -> None:
    for path in ("/api/v1/sources", "/graphql", "/health/live", "/metrics", "/schema"):
        assert not [name for name in preflight(caller, path) if name.startswith("access-control-")]
        read = caller.http.get(path, headers={"Origin": SITE})
        assert not [name for name in read.headers if name.startswith("access-control-")]
