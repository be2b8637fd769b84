"""`cdp import` whose process is killed, or the server's: run again it ends, and each row counts once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from served import served
from sqlalchemy import func, select

from cdp.ingest.imports.tables import imports
from cdp.ingest.tables import events, quarantine
from cdp.settings import Settings
from cdp.store import Store

_ROWS = 8_000
_BAD = 100  # every so many rows one is bad
_MAPPING = """
identifiers: {user_id: u}
time: t
events: [{name: Seen, properties: {n: {column: n, type: integer}}}]
"""


def command(settings: Settings, *words: object) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "CDP_DATA_DIR": str(settings.data_dir),
        "CDP_DATABASE_URL": settings.database_url,
        "CDP_KEYS_DATABASE_URL": settings.keys_database_url,
        "CDP_POLICIES_DIR": str(settings.policies_dir),
    }
    arguments = [sys.executable, "-m", "cdp", *map(str, words)]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def done(store: Store) -> int:
    """Return how many rows are done."""
    with store.reading() as connection:
        return int(connection.execute(select(func.coalesce(func.sum(imports.c.row_count), 0))).scalar_one())


def wait_past(store: Store, rows: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while done(store) <= rows:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill_tree(pid: int) -> None:
    """Kill a process and those that it started: `cdp serve` answers in one of them."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    for one in (pid, *map(int, children)):
        os.kill(one, signal.SIGKILL)


def killed(store: Store, process: subprocess.Popen[bytes], after: int) -> int:
    """Kill a command once more than ``after`` rows are done; returns how many are."""
    wait_past(store, after, process)
    process.kill()
    process.communicate()
    return done(store)


def test_an_import_survives_the_death_of_its_command_and_of_its_server(
    settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "outside"
    folder.mkdir()
    file, mapping = folder / "rows.csv", folder / "mapping.yaml"
    lines = (
        f"u-{row % 50},2026-01-01T00:00:{row % 60:02},{'x' if row % _BAD == 0 else row}\n"
        for row in range(_ROWS)
    )
    file.write_text("u,t,n\n" + "".join(lines))
    mapping.write_text(_MAPPING)
    words = ("import", file, "--source", "old", "--mapping", mapping, "--json")
    made = command(settings, "source", "create", "old", "--kind", "import")
    assert (made.communicate(), made.returncode)[1] == 0
    store = Store(settings.database)
    try:
        with served(settings) as (_, server):
            at = killed(store, command(settings, *words), 0)
            second = command(settings, *words)
            wait_past(store, at, second)
            kill_tree(server.pid)
            _, said = second.communicate(timeout=60)
            assert second.returncode == 1
            assert b"run the command again" in said
        at = killed(store, command(settings, *words), done(store))  # without a server
        assert at < _ROWS
        last = command(settings, *words)
        printed, said = last.communicate(timeout=120)
        assert last.returncode == 1, said  # some rows lie in quarantine
        report: dict[str, Any] = msgspec.json.decode(printed)
        bad = _ROWS // _BAD
        counted = {name: report[name] for name in ("rows", "stored", "duplicates", "quarantined")}
        assert counted == {"rows": _ROWS, "stored": _ROWS - bad, "duplicates": 0, "quarantined": bad}
        with store.reading() as connection:
            assert connection.execute(select(func.count()).select_from(events)).scalar_one() == _ROWS - bad
            assert connection.execute(select(func.count()).select_from(quarantine)).scalar_one() == bad
        left = {path.name for path in settings.data_dir.rglob("*") if path.suffix in {".csv", ".tmp"}}
        assert left == set(), "nothing of the file is kept"
    finally:
        store.close()
