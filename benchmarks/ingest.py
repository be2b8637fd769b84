"""``python -m benchmarks.ingest``: events committed a second, through HTTP, with everything on.

Steps for each store: 1. start ``cdp serve`` on a fresh data directory. 2. Load the events of ``mix.py`` in
calls of 100 from another process: a tenth to warm up, then the rest, timed. 3. Say how much of the processors'
time each event cost the server, the process that keeps the mirror, and the client.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

from benchmarks.databases import fresh_databases
from benchmarks.server import served
from cdp import app
from cdp.settings import Settings

_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run the measurement and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--connections", type=int, default=32)
    arguments = parser.parse_args()
    print(json.dumps({store: _run(store, arguments) for store in arguments.stores}, indent=2))


def _run(store: str, arguments: argparse.Namespace) -> dict[str, float]:
    folder = Path(tempfile.mkdtemp(prefix="cdp-bench-"))
    try:
        with fresh_databases(store, folder) as (database, keys):
            settings = Settings(data_dir=folder, database_url=database, keys_database_url=keys)
            app.initialise(settings)
            with served(settings) as (url, port):
                key = (folder / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
                write_key = source(url, key, "load")
                load(port, write_key, "warm-", arguments.events // 10, arguments.batch, arguments.connections)
                before = used()
                done = load(port, write_key, "", arguments.events, arguments.batch, arguments.connections)
                after = used()
                done["events_per_second"] = round(done["events"] / done["seconds"])
                for name, spent in after.items():
                    done[f"{name}_us"] = round(1e6 * (spent - before.get(name, 0)) / done["events"], 1)
                return done
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def source(url: str, key: str, name: str) -> str:
    """Make a source; returns its write key."""
    headers = {"Authorization": f"Bearer {key}"}
    made = httpx.post(f"{url}/api/v1/sources", json={"name": name, "kind": "server"}, headers=headers)
    write_key: str = made.json()["write_key"]
    return write_key


def load(
    port: int, write_key: str, prefix: str, events: int, batch: int, connections: int
) -> dict[str, float]:
    """Send events of ``mix.py`` from a process of its own; returns its figures."""
    command = [
        sys.executable, "-m", "benchmarks.load", "127.0.0.1", str(port), write_key,
        f"mix:{prefix}", str(batch), str(connections), str(events),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True, text=True)  # our own module
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def used() -> dict[str, float]:
    """Return the seconds of processor time that our server and the process beside it have used."""
    found: dict[str, float] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            fields = (process / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            continue
        if b"cdp" in command and _is_ours(process):
            name = "mirror" if b"worker" in command else "server"
            found[name] = found.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / _TICKS
    return found


def _is_ours(process: Path) -> bool:
    """True for a descendant of this process."""
    while process.name not in {"0", "1"}:
        if process.name == str(os.getpid()):
            return True
        status = (process / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
        process = process.parent / status[1]
    return False


if __name__ == "__main__":
    main()
