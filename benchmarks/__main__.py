"""``python -m benchmarks``: load, refresh, export, on both stores; prints one table.

Steps for each store: 1. start ``cdp serve`` on a fresh data directory. 2. Load the whole of Online Retail
through HTTP from another process. 3. Stop the server, measure the store's bytes. 4. Refresh five segments
next to the same five as hand-written DuckDB SQL over the same Parquet. 5. Export next to a bare loop that
reads, decrypts and writes the same rows. Ratios are taken within one run. 6. Kill a server under load, again
and again (``kills.py``).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import httpx

from benchmarks import export, kills, segments
from benchmarks.databases import fresh_databases, size_of
from benchmarks.server import make_source, served
from cdp import app
from cdp.settings import Settings

BATCH, CONNECTIONS = 100, 32


def main() -> None:
    """Run the benchmark and print its figures."""
    arguments = _arguments()
    results = {
        store: {**_run(store, arguments), "kills": kills.measure(store, arguments.kills)}
        for store in arguments.stores
    }
    print(json.dumps(results, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("CDP_SHARED", "../shared")))
    parser.add_argument("--limit", type=int, default=0, help="order lines to load; 0 is all")
    parser.add_argument(
        "--kills", type=int, default=kills.ROUNDS, help="rounds in which the server is killed"
    )
    parser.add_argument("--out", type=Path, help="also write the figures into this file")
    return parser.parse_args()


def _run(store: str, arguments: argparse.Namespace) -> dict[str, object]:
    folder = Path(tempfile.mkdtemp(prefix="cdp-bench-"))
    try:
        with fresh_databases(store, folder) as (database, keys):
            settings = Settings(data_dir=folder, database_url=database, keys_database_url=keys)
            app.initialise(settings)
            with served(settings) as (url, port):
                key = (folder / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
                load = _load(url, port, key, arguments)
            platform = app.build(settings)
            with closing(platform), app.calm_collector():  # as the server does
                platform.services.mirror.refresh()
                stored = size_of(database) + size_of(keys)
                mirrored = sum(file.stat().st_size for file in settings.mirror_dir.rglob("*.parquet"))
                return {
                    "ingest": load,
                    "bytes_per_event": {
                        "database": round(stored / load["events"]),
                        "parquet": round(mirrored / load["events"]),
                    },
                    "segments": segments.measure(platform.services, settings.mirror_dir),
                    "export": export.measure(platform.services),
                }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _load(url: str, port: int, key: str, arguments: argparse.Namespace) -> dict[str, float]:
    write_key = make_source(url, key)
    command = [
        sys.executable, "-m", "benchmarks.load", "127.0.0.1", str(port), write_key,
        str(arguments.shared), str(BATCH), str(CONNECTIONS), str(arguments.limit),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True, text=True)  # our own module
    figures: dict[str, float] = json.loads(done.stdout)
    figures["events_per_second"] = round(figures["events"] / figures["seconds"])
    figures["mirror_delay_seconds"] = _mirror_delay(url, write_key)
    return figures


def _mirror_delay(url: str, write_key: str) -> float:
    """Return how long one more event takes until segments see it."""
    message = {"type": "track", "event": "Product Added", "userId": "last", "messageId": "last"}
    started = time.perf_counter()
    answer = httpx.post(
        f"{url}/v1/batch?wait=warehouse",
        json={"batch": [message], "writeKey": write_key},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text  # noqa: S101  # a benchmark of a failure is none
    return round(time.perf_counter() - started, 2)


if __name__ == "__main__":
    main()
