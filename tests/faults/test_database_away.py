"""The database goes away under load and comes back: calls are refused meanwhile, and nothing is lost.

The server is not restarted: connections, threads and names that it held recover by themselves.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from own_postgres import Mode, own_postgres
from platform_fixtures import Template, settings_of
from running import check_all_runs, check_refused, running, until
from small_disk import small_disk

from benchmarks.kills import unlike
from benchmarks.sending import sending
from benchmarks.standing import source_of
from cdp import app
from cdp.errors import StoreError

_HELD = 1.5  # seconds, well below SQLite's patience


def test_postgresql_stopped_and_started_under_load(tmp_path: Path) -> None:
    with own_postgres(192, max_connections=60) as postgres:
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
            for name in ("main", "keys"):
                connection.execute(f"CREATE DATABASE {name}")
        settings = settings_of(tmp_path / "var", postgres.url("main"), postgres.url("keys"))
        app.initialise(settings)
        with closing(app.build(settings)) as platform:
            source, write_key = source_of(platform.services)
            with (
                running(settings, tmp_path / "log") as server,
                sending(tmp_path / "tries", write_key, [server.port], pause=0.05) as client,
            ):
                modes: tuple[Mode, ...] = ("fast", "immediate")
                for mode in modes:
                    until(client, 200)
                    postgres.stop(mode)
                    until(client, 503)
                    server.wait_until(ready=False, part="store")
                    postgres.start()
                    until(client, 200)
                    server.wait_until(ready=True)
                assert postgres.disk is not None
                postgres.disk.fill()
                until(client, 503)
                postgres.disk.free()
                until(client, 200)
                assert unlike(platform.services, source, client) == []
                check_refused(client.tries())
                check_all_runs(server, write_key)


def test_sqlite_held_by_another_process_and_read_only(
    tmp_path: Path, templates: Callable[[str], Template]
) -> None:
    template = templates("sqlite")
    shutil.copytree(template.folder, tmp_path / "var")
    with small_disk(tmp_path / "disk", 32) as disk:
        for name, url in (("main", template.database), ("keys", template.keys)):
            shutil.copyfile(url.removeprefix("sqlite:///"), disk.folder / name)
        urls = [f"sqlite:///{disk.folder / name}" for name in ("main", "keys")]
        settings = settings_of(tmp_path / "var", *urls)
        with closing(app.build(settings)) as platform:
            source, write_key = source_of(platform.services)
            with (
                running(settings, tmp_path / "log") as server,
                sending(tmp_path / "tries", write_key, [server.port], pause=0.05) as client,
            ):
                for name in ("main", "keys"):
                    until(client, 200)
                    with closing(sqlite3.connect(disk.folder / name, isolation_level=None)) as other:
                        other.execute("BEGIN IMMEDIATE")
                        time.sleep(_HELD)
                        other.execute("COMMIT")
                until(client, 200)
                assert unlike(platform.services, source, client) == []
            assert {one.status for one in client.tries()} == {200}
            assert max(one.seconds for one in client.tries()) > _HELD / 2
        disk.mount("ro")
        with pytest.raises(StoreError, match="database failed"):
            app.build(settings)
        disk.mount("rw")
        with running(settings, tmp_path / "log") as server:
            check_all_runs(server, write_key)
