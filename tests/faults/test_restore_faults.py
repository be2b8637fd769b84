"""Backup, restore and replay under real faults: killed at any commit, a full disk, a damaged journal."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from caller import Caller
from forked import CONTEXT
from recovery_world import backed_up, erase, lost, nothing, number_of, restored, running, say, state
from sqlalchemy import Engine, event

from cdp import app, recovery
from cdp.clock import SECOND, FixedClock
from cdp.errors import CdpError
from cdp.recovery import Asked, queries
from cdp.recovery import backup as backing_up
from cdp.settings import Settings
from cdp.store import Store

REFUSED = 3


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _killed_at_commit(settings: Settings, left: int) -> None:
    """Replay, and be killed before the transaction ``left`` after the first commits."""
    commits = iter(range(left + 1))

    def count(_connection: object) -> None:
        if next(commits, left) == left:
            _die()

    event.listen(Engine, "commit", count)
    app.replay(settings)


def _killed_while_copying(settings: Settings, folder: Path, asked: Asked) -> None:
    vars(backing_up)["put_in_place"] = _die
    _back_up(settings, folder, asked)


def _killed_while_filling(settings: Settings, folder: Path) -> None:
    queries.write_state = _die
    restored(settings, folder)


def _on_a_full_disk(work: Callable[..., object], *arguments: object) -> None:
    """Do something where no file may grow beyond 64 KiB; ends with ``REFUSED`` when it says what is wrong."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, resource.RLIM_INFINITY))
    try:
        work(*arguments)
    except CdpError:
        raise SystemExit(REFUSED) from None


def _back_up(settings: Settings, folder: Path, asked: Asked) -> None:
    with closing(Store(settings.database)) as store:
        recovery.back_up(store, folder, asked, nothing, workspace=settings.workspace)


def run(work: Callable[..., object], *arguments: Any) -> int | None:
    """Do something in a process of its own; returns its exit status."""
    process = CONTEXT.Process(target=work, args=arguments)
    process.start()
    try:
        process.join(timeout=120)
    finally:
        process.kill()
        process.join()
    return process.exitcode


def greet(caller: Caller) -> None:
    """Have people known before the backup."""
    for name in ("ann", "ben", "cleo"):
        say(caller, name, True, 1)
    caller.send({"type": "identify", "messageId": "both", "userId": "ann", "anonymousId": "device"})


def say_on(caller: Caller, clock: FixedClock) -> None:
    """Say what a restore must bring back."""
    clock.advance(SECOND)
    say(caller, "ann", False, 2)
    erase(caller, "ben")
    caller.api("POST", "/destinations/mailer/switch", {"enabled": False, "reason": "suspected_breach"})
    device = _carved(caller)
    split = {"identities": [device], "dry_run": False}
    caller.api("POST", f"/profiles/{device}/split", split, purpose="data_quality")
    members = [{"type": "user_id", "value": "cleo"}]
    caller.api("PUT", "/lists/robinson", {"kind": "black", "members": members}, purpose="segmentation")


def _carved(caller: Caller) -> str:
    number = number_of(caller, "device", "anonymous_id")
    assert number is not None
    return caller.services.profile_ids.encode(number)


def begin(settings: Settings, clock: FixedClock, folder: Path) -> Caller:
    """Return the caller of a platform that was backed up, spoke on, and lost its database."""
    with running(settings, clock) as caller:
        greet(caller)
        backed_up(caller, folder)
        say_on(caller, clock)
    lost(settings)
    return caller


def check(settings: Settings, clock: FixedClock, before: Caller) -> None:
    with running(settings, clock, before) as after:
        assert after.http.get("/health/ready").status_code == 200
        assert (state(after, "ann"), number_of(after, "ben")) == ("withdrawn", None)
        found = {one["name"]: one["enabled"] for one in after.api("GET", "/policies")["destinations"]}
        assert not found["mailer"]
        services = after.services
        with services.store.reading() as connection:
            ends = (number_of(after, "ann"), number_of(after, "device", "anonymous_id"))
            homes = services.identity.profiles_of(connection, [one for one in ends if one])
            assert len(set(homes.values())) == 2
            assert len(services.segments.blocked(connection)) == 1
        assert len(after.api("GET", "/audit?action=recovery.replay")["items"]) == 1
        assert after.api("GET", "/audit/verify")["verified"]


def test_killed_before_any_commit_of_a_replay(settings: Settings, clock: FixedClock, tmp_path: Path) -> None:
    caller = begin(settings, clock, tmp_path / "backup")
    assert run(_killed_while_filling, settings, tmp_path / "backup") == -signal.SIGKILL
    killed = 0
    while (status := run(_killed_at_commit, settings, killed)) == -signal.SIGKILL:
        killed += 1
    assert (status, killed > 5) == (0, True)
    check(settings, clock, caller)


def test_a_backup_that_is_killed_or_finds_a_full_disk_is_none(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    with running(settings, clock) as caller:
        greet(caller)
        asked = msgspec.convert(caller.api("POST", "/recovery/backups", {}), Asked)
        assert run(_killed_while_copying, settings, folder, asked) == -signal.SIGKILL
        assert not folder.exists()
        assert run(_on_a_full_disk, _back_up, settings, folder, asked) == REFUSED
        assert not folder.exists()
        backed_up(caller, folder)  # the server went on, and the name is free
        say_on(caller, clock)
    lost(settings)
    restored(settings, folder)
    check(settings, clock, caller)


def test_a_full_disk_at_restore_and_replay(settings: Settings, clock: FixedClock, tmp_path: Path) -> None:
    caller = begin(settings, clock, tmp_path / "backup")
    local = settings.database.startswith("sqlite")  # the other one's files are its server's
    if local:
        assert run(_on_a_full_disk, restored, settings, tmp_path / "backup") == REFUSED
    restored(settings, tmp_path / "backup")
    if local:
        assert run(_on_a_full_disk, app.replay, settings) == REFUSED
    check(settings, clock, caller)


def _cut_in_a_line(journal: Path) -> None:
    file = max(journal.glob("*.journal"))
    file.write_bytes(file.read_bytes()[:-400])


def _flipped(journal: Path) -> None:
    file = min(journal.glob("*.journal"))
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 4
    file.write_bytes(whole)


def _missing(journal: Path) -> None:
    min(journal.glob("*.journal")).unlink()


def _unreadable(journal: Path) -> None:
    file = min(journal.glob("*.journal"))
    file.unlink()
    file.mkdir()


def test_a_damaged_journal_is_put_back_before_anything_is_served(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        greet(caller)
        say_on(caller, clock)
        backed_up(caller, tmp_path / "backup")
    lost(settings)
    whole = {file: file.read_bytes() for file in settings.journal_dir.glob("*.journal")}
    restored(settings, tmp_path / "backup")
    for damage in (_cut_in_a_line, _flipped, _missing, _unreadable):
        damage(settings.journal_dir)
        ready, _ = app.replay(settings)
        assert (ready.ready, "journal" in ready.reason) == (False, True), damage
        for file, content in whole.items():
            if file.is_dir():
                file.rmdir()
            file.write_bytes(content)
    check(settings, clock, caller)
