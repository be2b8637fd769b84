"""Every real client against a server that fails as scripted before it takes anything: nothing is lost.

Each client sends on until it is answered 200, so that each event is stored, and stored once: also where it
was stored before and only the answer was lost.
"""

from __future__ import annotations

import time
from pathlib import Path

from chromium import Chromium
from clients_browser import need_browser, site, visit
from clients_world import DRIVERS, PATIENCE, Server, need_node, run, scripted

from cdp.settings import Settings

SCRIPT = [
    {"status": 503, "after": 1},
    {"status": 429, "after": 1},
    {"status": 503, "after": 1, "stored": True},
    {"status": 500},
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
        run(server, {client: ["chaos"] for client in DRIVERS}, outside)
        visit(browser, at, server, dict.fromkeys(BROWSERS, 11))
        for source in servers:
            assert positions(server, source, 40) == list(range(40)), source
        for source in BROWSERS:
            assert positions(server, source, 10) == list(range(10)), source
        for source in (*servers, *BROWSERS):
            statuses = [call.status for call in server.calls(source, "POST")]
            assert sorted(statuses)[-4:] == [429, 500, 503, 503], source
            assert statuses.count(200) == len(statuses) - 4, source


def positions(server: Server, source: str, count: int) -> list[int]:
    """Return the positions of the events that are stored of a source, as soon as there are so many."""
    until = time.monotonic() + PATIENCE
    while True:
        tracked = [event for event in server.stored(source, "chaos") if event["type"] == "track"]
        if len(tracked) >= count or time.monotonic() > until:
            return sorted(event["properties"]["position"] for event in tracked)
        time.sleep(0.2)
