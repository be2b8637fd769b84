"""Every real client against a server that fails as scripted before it takes anything: nothing is lost.

Each client sends on until it is answered 200, so that each event is stored, and stored once: also where it
was stored before and only the answer was lost.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from chromium import Chromium
from clients_browser import need_browser, site, visit
from clients_world import DRIVERS, PATIENCE, Server, need_node, scripted, started

from cdp.settings import Settings

SCRIPT = [
    {"status": 503, "after": 1},
    {"status": 429, "after": 1},
    {"status": 503, "after": 1, "stored": True},
]
BROWSERS = ("segment-browser.chaos", "rudder-browser.chaos")


def test_whatever_the_server_answers_every_event_is_stored_exactly_once(
    settings: Settings, tmp_path: Path
) -> None:
    need_node()
    need_browser()
    outside = tmp_path / "outside"
    outside.mkdir()
    servers = [f"{client}.chaos" for client in DRIVERS]
    with scripted(settings) as server, site() as at, Chromium(outside) as browser:
        server.script(dict.fromkeys([*servers, *BROWSERS], SCRIPT))
        with started(server, {client: ["chaos"] for client in DRIVERS}, outside):
            visit(browser, at, server, dict.fromkeys(BROWSERS, 11))
        stored = tracked(server, 40 * len(servers) + 10 * len(BROWSERS))
        for source, count in [(name, 40) for name in servers] + [(name, 10) for name in BROWSERS]:
            found = [event["properties"]["position"] for event in stored if event["source"] == source]
            assert sorted(found) == list(range(count)), source
        for source in (*servers, *BROWSERS):
            statuses = [call.status for call in server.calls(source, "POST")]
            assert sorted(statuses)[-3:] == [429, 503, 503], source
            assert statuses.count(200) == len(statuses) - 3, source


def tracked(server: Server, count: int) -> list[Any]:
    """Return the tracked events that are stored, as soon as there are so many."""
    until = time.monotonic() + PATIENCE
    while True:
        events = [event for event in server.told("chaos") if event["type"] == "track"]
        if len(events) >= count or time.monotonic() > until:
            return events
        time.sleep(0.2)
