"""``cdp source create`` and ``update``: how much a source may send."""

from __future__ import annotations

import json
from collections.abc import Callable

LIMITS = ("events_per_second", "burst", "max_body_kib", "max_event_kib")


def test_what_is_named_changes_and_nought_takes_it_away(shell: Callable[..., str]) -> None:
    made = json.loads(shell("source", "create", "till", "--max-body-kib", "4096", "--json"))
    assert [made[name] for name in LIMITS] == [None, None, 4096, None]
    update = ("source", "update", "till")
    shell(*update, "--events-per-second", "50", "--burst", "200", "--max-event-kib", "64")
    changed = json.loads(shell(*update, "--max-body-kib", "0", "--burst", "0", "--json"))
    assert [changed[name] for name in LIMITS] == [50, None, None, 64]
    assert "1 to 4096" in shell(*update, "--max-body-kib", "5000", expect=1)
    assert "no source with this name" in shell("source", "update", "nobody", "--burst", "0", expect=1)
    listed = json.loads(shell("source", "list", "--json"))
    assert [[one[name] for name in LIMITS] for one in listed] == [[50, None, None, 64]]
