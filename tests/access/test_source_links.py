"""A source's permission to have manage links made, given and taken away after it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from caller import Caller
from recovery_world import backed_up, identify, lost, restored, running

from cdp.clock import SECOND, FixedClock
from cdp.settings import Settings

MANAGE = {"identifier": {"type": "user_id", "value": "ann"}, "kind": "manage"}


def _links(caller: Caller, name: str, *, links: bool, **given: Any) -> Any:
    return caller.api("PUT", f"/sources/{name}/links", {"links": links}, **given)


def _may(caller: Caller, write_key: str) -> bool:
    headers = {"Authorization": f"Bearer {write_key}"}
    answer = caller.http.post("/api/v1/preferences/links", json=MANAGE, headers=headers)
    assert answer.status_code in {201, 403}
    return answer.status_code == 201


def test_it_is_given_and_taken_away_at_once_and_on_record(caller: Caller) -> None:
    key = caller.api("POST", "/sources", {"name": "shop"})["write_key"]
    assert not _may(caller, key)
    assert _links(caller, "shop", links=True)["links"] is True
    assert _may(caller, key)
    assert _links(caller, "shop", links=False)["links"] is False
    assert not _may(caller, key)
    assert [source["links"] for source in caller.api("GET", "/sources")["items"]] == [False]
    found = caller.api("GET", "/audit?action=source.links")["items"]
    assert [entry["object"]["links"] for entry in found] == [0, 1]


def test_nobody_gives_what_they_lack_and_anybody_who_may_takes_it_away(caller: Caller) -> None:
    caller.api("POST", "/sources", {"name": "shop", "links": True})
    plain = caller.api("POST", "/keys", {"name": "plain", "roles": ["admin"], "purposes": []})["key"]
    assert _links(caller, "shop", links=False, key=plain)["links"] is False
    _links(caller, "shop", links=True, key=plain, expect=403)
    officer = caller.api("POST", "/keys", {"name": "o", "roles": ["officer"], "purposes": ["rights"]})["key"]
    _links(caller, "shop", links=True, key=officer, expect=403)
    assert [source["links"] for source in caller.api("GET", "/sources")["items"]] == [False]


def test_nor_do_they_get_its_key_by_rotating_it(caller: Caller) -> None:
    held = caller.api("POST", "/sources", {"name": "shop", "links": True})["write_key"]
    plain = caller.api("POST", "/keys", {"name": "plain", "roles": ["admin"], "purposes": []})["key"]
    refused = caller.api("POST", "/sources/shop/rotate", key=plain, expect=403)
    assert "rights" in refused["detail"]
    assert _may(caller, held)  # it still works
    assert caller.api("GET", "/audit?action=source.rotate")["items"] == []
    assert _may(caller, caller.api("POST", "/sources/shop/rotate")["write_key"])
    caller.api("POST", "/sources", {"name": "till"})
    assert caller.api("POST", "/sources/till/rotate", key=plain)["write_key"]


@pytest.mark.parametrize("kind", ["browser", "import"])
def test_only_servers_get_it_and_only_sources_that_are_there(caller: Caller, kind: str) -> None:
    caller.api("POST", "/sources", {"name": "site", "kind": kind})
    assert "server" in _links(caller, "site", links=True, expect=400)["detail"]
    assert _links(caller, "site", links=False)["links"] is False
    _links(caller, "nobody", links=True, expect=404)
    caller.api("PUT", "/sources/site/links", {}, expect=400)


def test_what_was_taken_away_does_not_come_back_with_a_backup(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        identify(caller, "ann")
        keys = {
            name: caller.api("POST", "/sources", {"name": name, "links": True})["write_key"]
            for name in ("taken", "kept", "again")
        }
        backed_up(caller, tmp_path / "backup")
        for name, steps in {"taken": [False], "again": [False, True]}.items():
            for links in steps:
                clock.advance(SECOND)
                _links(caller, name, links=links)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert {name: _may(after, key) for name, key in keys.items()} == {
            "taken": False,
            "kept": True,
            "again": True,
        }
        assert after.services.recovery.done.ended == 1
