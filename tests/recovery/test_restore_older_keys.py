"""A key database older than the main one brings nobody's key back who is erased there."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from caller import Caller
from recovery_world import backed_up, erase, identify, lost, nothing, number_of, restored, running

from cdp import recovery
from cdp.clock import SECOND, FixedClock
from cdp.recovery import Asked
from cdp.settings import Settings
from cdp.store import Store


def keys_backed_up(caller: Caller, settings: Settings, folder: Path) -> None:
    asked = msgspec.convert(caller.api("POST", "/recovery/backups", {"keys": True}), Asked)
    with closing(Store(settings.keys_database)) as keys:
        recovery.back_up_keys(keys, folder, asked, nothing, workspace=settings.workspace)


def both_restored(settings: Settings, folder: Path) -> None:
    for url in (settings.database, settings.keys_database):
        lost(msgspec.structs.replace(settings, database_url=url))
    with closing(Store(settings.keys_database)) as keys:
        held = recovery.read_manifest(folder / "keys", settings.workspace)
        recovery.restore_keys(keys, folder / "keys", held, nothing)
    restored(settings, folder / "main")


@pytest.mark.parametrize("journal", ["kept", "lost"])
def test_the_key_of_whom_the_main_backup_knows_as_erased_is_destroyed_again(
    settings: Settings, clock: FixedClock, tmp_path: Path, journal: str
) -> None:
    """Keys of Monday, on Tuesday an erasure, the main database of Wednesday."""
    with running(settings, clock) as caller:
        identify(caller, "ann")
        identify(caller, "ben")
        keys_backed_up(caller, settings, tmp_path / "keys")
        clock.advance(SECOND)
        ann, ben = erase(caller, "ann"), number_of(caller, "ben")
        clock.advance(SECOND)
        backed_up(caller, tmp_path / "main")
    both_restored(settings, tmp_path)
    if journal == "lost":
        shutil.rmtree(settings.journal_dir)
    with running(settings, clock, caller) as after:
        if journal == "lost":
            body = {"without_journal": True, "reason": "journal_lost"}
            assert after.api("POST", "/recovery/replay", body)["erased"] == 1
        keyring = after.services.keyring
        assert keyring.destroyed([ann]) == {ann}
        assert after.services.recovery.done.erased == 1
        assert set(keyring.deks([ann, ben or 0])) == {ben}
        assert number_of(after, "ben") == ben
