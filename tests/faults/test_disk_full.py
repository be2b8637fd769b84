"""Disks that are full for a while: calls that need them are refused, nothing is half done, and all goes on.

Each part lies on a small disk of its own, and each disk is full once, under load.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from platform_fixtures import POLICIES, Template
from running import check_all_runs, check_refused, running, until
from small_disk import small_disk

from benchmarks.kills import unlike
from benchmarks.sending import sending
from benchmarks.standing import source_of
from cdp import app
from cdp.settings import Settings

_NEEDED = {"main": "store", "keys": "keys", "journal": "journal"}  # disk → the part that then is not ready
_BESIDE = {"data": "mirror", "checkpoint": "checkpoint"}  # disk → the work that then fails, beside the calls


def _settings(template: Template, disks: Path) -> Settings:
    """Return the settings of a platform of which each part lies on a disk of its own."""
    elsewhere = shutil.ignore_patterns("journal")
    shutil.copytree(template.folder, disks / "data", dirs_exist_ok=True, ignore=elsewhere)
    shutil.copytree(template.folder / "journal", disks / "journal", dirs_exist_ok=True)
    for name, url in (("main", template.database), ("keys", template.keys)):
        shutil.copyfile(url.removeprefix("sqlite:///"), disks / name / "it.sqlite")
    return Settings(
        data_dir=disks / "data",
        database_url=f"sqlite:///{disks / 'main' / 'it.sqlite'}",
        keys_database_url=f"sqlite:///{disks / 'keys' / 'it.sqlite'}",
        journal=disks / "journal",
        checkpoint_file=disks / "checkpoint" / "checkpoint",
        checkpoint_interval_s=1,
        policies_dir=POLICIES,
        mirror_interval_ms=50,
    )


def test_each_disk_full_once_under_load(tmp_path: Path, templates: Callable[[str], Template]) -> None:
    sizes = {"main": 32, "keys": 8, "journal": 4, "data": 16, "checkpoint": 1}
    with ExitStack() as opened:
        disks = {
            name: opened.enter_context(small_disk(tmp_path / name, size)) for name, size in sizes.items()
        }
        settings = _settings(templates("sqlite"), tmp_path)
        services = opened.enter_context(closing(app.build(settings))).services
        source, write_key = source_of(services)
        log = tmp_path / "log"
        server = opened.enter_context(running(settings, log))
        client = opened.enter_context(sending(tmp_path / "tries", write_key, [server.port], pause=0.05))
        checkpoint = settings.checkpoint_file
        assert checkpoint is not None
        for name, disk in disks.items():
            until(client, 200)
            disk.fill()
            if name in _NEEDED:
                until(client, 503)
                server.wait_until(ready=False, part=_NEEDED[name])
            else:
                _wait_until_it_fails(log, _BESIDE[name])
                until(client, 200)
            disk.free()
            server.wait_until(ready=True)
        until(client, 200)
        signed = checkpoint.read_text(encoding="utf-8")
        _wait_for(lambda: checkpoint.read_text(encoding="utf-8") != signed)
        assert unlike(services, source, client) == []
        check_refused(client.tries())
        check_all_runs(server, write_key)
        list(services.journal.lines())  # raises where a line was altered
        server.stop()
        for name in ("main", "keys"):
            with closing(sqlite3.connect(tmp_path / name / "it.sqlite")) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _wait_until_it_fails(log: Path, work: str) -> None:
    said = f'"work": "{work}"'
    before = log.read_text(encoding="utf-8").count(said)
    _wait_for(lambda: log.read_text(encoding="utf-8").count(said) > before)


def _wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
