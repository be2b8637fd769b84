"""Change feeds after a restore: who reads on with a cursor of before is told everything anew."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from caller import Caller
from recovery_world import EMAIL, backed_up, lost, restored, running, say

from cdp.clock import SECOND, FixedClock
from cdp.export import segment_id
from cdp.settings import Settings


class Mailer:
    """A destination that keeps a table by the feed alone, as its documentation says."""

    def __init__(self, caller: Caller) -> None:
        segment = segment_id(caller.services.keyring, "germans")
        self.path = f"/destinations/mailer/segments/{segment}/changes?purpose={EMAIL}&limit=4"
        self.key = caller.destination_key("mailer", EMAIL)
        self.cursor = ""
        self.table: dict[str, str] = {}

    def read(self, caller: Caller) -> list[str]:
        """Read to the end; returns what happened, in order."""
        caller.services.mirror.refresh()
        told: list[str] = []
        while True:
            asked = f"{self.path}&cursor={self.cursor}" if self.cursor else self.path
            page = caller.api("GET", asked, key=self.key)
            self.cursor = page["cursor"]
            if page.get("from_start"):
                self.table = {}
            for one in page["changes"]:
                self.apply(one)
                told.append(one["op"])
            if not page["has_more"]:
                return told

    def apply(self, change: dict[str, Any]) -> None:
        if change["op"] == "remove":
            self.table.pop(change["profile_ref"], None)
        else:
            self.table[change["profile_ref"]] = change["email"].partition("@")[0]

    def names(self) -> set[str]:
        return set(self.table.values())


def person(caller: Caller, name: str) -> None:
    traits = {"email": f"{name}@people.example", "country": "Germany"}
    caller.send({"type": "identify", "messageId": f"i-{name}", "userId": name, "traits": traits}, wait=True)
    say(caller, name, True, 1)


def followed(caller: Caller, clock: FixedClock, folder: Path) -> Mailer:
    """Have a destination read, make a backup, and have it read on."""
    for name in ("ann", "ben"):
        person(caller, name)
    where = {"all": [{"trait": "country", "op": "eq", "value": "Germany"}]}
    caller.api("PUT", "/segments/germans", {"name": "germans", "where": where})
    mailer = Mailer(caller)
    mailer.read(caller)
    backed_up(caller, folder)
    further(caller, clock, mailer, "new")
    return mailer


def further(caller: Caller, clock: FixedClock, mailer: Mailer, name: str) -> None:
    """Have more people come than a backup's feed has numbers for, and the destination read of them."""
    clock.advance(SECOND)
    for number in range(6):
        person(caller, f"{name}{number}")
    mailer.read(caller)
    assert {"ann", "ben", f"{name}5"} <= mailer.names()


@pytest.mark.parametrize("withdrawn", ["before the loss", "after the restore"])
def test_a_cursor_of_before_a_restore_misses_no_removal(
    settings: Settings, clock: FixedClock, tmp_path: Path, withdrawn: str
) -> None:
    with running(settings, clock) as caller:
        mailer = followed(caller, clock, tmp_path / "backup")
        if withdrawn == "before the loss":
            say(caller, "ann", False, 2)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        clock.advance(SECOND)
        if withdrawn == "after the restore":
            say(after, "ann", False, 2)
        after.services.outbox.issue()
        assert "remove" in mailer.read(after)
        assert mailer.names() == {"ben"}, "whom the platform knows nothing of any more is not kept either"
        assert mailer.read(after) == []


def test_a_feed_begins_anew_at_each_restore_of_one_backup_also_without_the_journal(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        mailer = followed(caller, clock, tmp_path / "backup")
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as again:
        mailer.read(again)
        further(again, clock, mailer, "other")
    lost(settings)
    restored(settings, tmp_path / "backup")
    shutil.rmtree(settings.journal_dir)
    with running(settings, clock, caller) as after:
        body = {"without_journal": True, "reason": "journal_lost"}
        after.api("POST", "/recovery/replay", body)
        say(after, "ann", False, 2)
        after.services.outbox.issue()
        assert "remove" in mailer.read(after)
        assert mailer.names() == {"ben"}


def test_where_nothing_may_leave_after_a_restore_the_table_waits_for_its_removals(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        mailer = followed(caller, clock, tmp_path / "backup")
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        after.api("POST", "/destinations/mailer/switch", {"enabled": False, "reason": "suspected_breach"})
        say(after, "ann", False, 2)
        after.services.outbox.issue()
        assert mailer.read(after) == ["remove"]
        assert mailer.names() >= {"ben", "new5"}, "the switch takes nothing back"
        after.api("GET", f"{mailer.path}&cursor={mailer.cursor}", key=mailer.key, expect=403)
        after.api("POST", "/destinations/mailer/switch", {"enabled": True, "reason": "all_clear"})
        mailer.read(after)
        assert mailer.names() == {"ben"}
