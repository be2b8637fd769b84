"""``cdp quarantine …`` and ``cdp source counts``, as a steward runs them."""

from __future__ import annotations

from typing import Any

import msgspec
from platform_fixtures import Shell

from cdp.cli.client import connected
from cdp.settings import Settings


def test_failed_events_from_the_list_to_the_discard(shell: Shell, settings: Settings) -> None:
    with connected(settings) as api:
        key = api.post("/sources", {"name": "shop", "kind": "server"})["write_key"]
        api.ingest(key, [{"type": "page", "messageId": f"m{number}", "name": "Home"} for number in range(3)])

    def told(*arguments: str) -> Any:
        return msgspec.json.decode(shell(*arguments, "--json"))

    items = told("quarantine", "list", "--source", "shop", "--kind", "tracker_protocol_violation")
    assert [item["reason"] for item in items] == ["no_identifier"] * 3
    printed = shell("quarantine", "list")
    assert printed.split().count("no_identifier") == 4  # one line of counts, three messages
    assert told("quarantine", "counts")[0]["messages"] == 3
    assert "messageId" in shell("quarantine", "show", items[0]["id"])
    assert "no such message" in shell("quarantine", "show", "1", expect=1)
    for dry in (["--dry-run"], []):
        done = told("quarantine", "replay", "--reason", "no_identifier", *dry)
        assert (done["received"], done["reasons"], done["dry_run"]) == (3, {"no_identifier": 3}, bool(dry))
    assert "say which" in shell("quarantine", "discard", expect=1)
    chosen = ("--id", items[0]["id"], "--id", items[1]["id"])
    assert told("quarantine", "discard", *chosen) == {"would_discard": 2}
    assert told("quarantine", "discard", *chosen, "--yes") == {"discarded": 2}
    found = told("source", "counts", "shop")
    assert (found["balanced"], found["total"]["discarded"], found["total"]["waiting"]) == (True, 2, 1)
    assert "yes" in shell("source", "counts", "shop")
    checks = {one["check"]: one["detail"] for one in told("doctor")}
    assert checks["events"] == "3 received, all accounted for"
