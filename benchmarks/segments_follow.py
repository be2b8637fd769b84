"""``python -m benchmarks.segments_follow``: a hundred segments followed under load; prints one table.

Steps for each store: 1. On a fresh ``cdp serve`` that follows a hundred assorted segments, load Online Retail
as if it happened now, for a minute at each rate; once a second one more person does what one more segment is
about. 2. How long after that person's event was sent is it on record that they entered? The clocks of client
and server are one. What ``/metrics`` says meanwhile is told beside it. 3. Load as fast as calls are taken,
on fresh servers in turns: with nothing to follow, and with the hundred segments.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from benchmarks.databases import fresh_databases
from benchmarks.segments_scale import Words, assorted, define
from benchmarks.server import served
from cdp import app
from cdp.clock import SECOND, SystemClock, rfc3339
from cdp.ingest.tables import events
from cdp.segments import queries
from cdp.settings import Settings
from cdp.store import Store, batches

SECONDS, LIMIT, ROUNDS, BATCH, CONNECTIONS = 60, 80_000, 2, 100, 32
RATES = (1_000, 3_000)
_BOUGHT = {"event": "Product Added"}
RETAIL = Words(
    events=("Product Added", "Product Removed"),
    amount="value",
    chosen=("product_id", ("22423", "85123A", "84879")),
    trait=("country", ("Germany", "France", "United Kingdom")),
    funnel={"sequence": [_BOUGHT, {**_BOUGHT, "within": "1d"}, {"event": "Product Removed", "within": "7d"}]},
)
_PROBED = {"event": "Order Completed", "within": "1d"}  # which nobody else does


class _Server:
    """A server on a fresh data directory, with or without segments."""

    def __init__(self, settings: Settings, url: str, port: int) -> None:
        self.settings = settings
        self.url = url
        self._port = port
        key = (settings.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
        headers = {"Authorization": f"Bearer {key}"}
        made = httpx.post(f"{url}/api/v1/sources", json={"name": "load", "kind": "server"}, headers=headers)
        self._write_key = made.json()["write_key"]

    def load(self, shared: Path, limit: int, rate: int) -> dict[str, float]:
        """Send so many order lines at a rate and return the client's figures."""
        command = [
            sys.executable, "-m", "benchmarks.load", "127.0.0.1", str(self._port), self._write_key,
            str(shared), str(BATCH), str(CONNECTIONS), str(limit), str(rate),
        ]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)  # our own module
        found: dict[str, float] = json.loads(done.stdout)
        return {
            "events_per_second": round(found["events"] / found["seconds"]),
            "p50_ms": round(found["p50_ms"]),
            "p99_ms": round(found["p99_ms"]),
            "refused_calls": found["refused"],
        }

    def probe(self, name: str) -> None:
        """Let somebody do what one segment is about."""
        now = rfc3339(SystemClock().now())
        message = {
            "type": "track",
            "event": _PROBED["event"],
            "userId": name,
            "messageId": name,
            "timestamp": now,
        }
        body = {"batch": [message], "writeKey": self._write_key}
        httpx.post(f"{self.url}/v1/batch", json=body, timeout=60).raise_for_status()

    def lag(self) -> float:
        """Return what ``/metrics`` says."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("cdp_segments_lag_seconds "))


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.segments_follow", description=__doc__)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("CDP_SHARED", "../shared")))
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--rates", nargs="*", type=int, default=RATES)
    parser.add_argument(
        "--limit", type=int, default=LIMIT, help="order lines loaded as fast as they are taken"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of these loads")
    given = parser.parse_args()
    print(json.dumps({store: _run(store, given) for store in given.stores}, indent=2))


def _run(store: str, given: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for rate in given.rates:
        with _fresh(store, following=True) as server:
            found[f"at_{rate}"] = _watched(server, given.shared, given.seconds * rate, rate)
    taken: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(given.rounds):
        for following, figures in taken.items():
            with _fresh(store, following=following) as server:
                figures.append(server.load(given.shared, given.limit, 0)["events_per_second"])
    return {**found, "ingest_alone": taken[False], "ingest_beside_following": taken[True]}


@contextmanager
def _fresh(store: str, *, following: bool) -> Iterator[_Server]:
    folder = Path(tempfile.mkdtemp(prefix="cdp-bench-"))
    try:
        with fresh_databases(store, folder) as (database, keys):
            settings = Settings(data_dir=folder, database_url=database, keys_database_url=keys)
            app.initialise(settings)
            if following:
                with closing(app.build(settings)) as platform:
                    define(platform.services, [_PROBED, *assorted(random.Random(7), RETAIL)])
            with served(settings) as (url, port):
                yield _Server(settings, url, port)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _watched(server: _Server, shared: Path, limit: int, rate: int) -> dict[str, Any]:
    """Load, probe once a second meanwhile, and return the lags in seconds."""
    server.probe("first")
    _wait(server)
    done = threading.Event()
    told: list[float] = []

    def probe() -> None:
        number = 0
        while not done.wait(1.0):
            server.probe(f"probe-{number}")
            told.append(server.lag())
            number += 1

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        figures: dict[str, Any] = server.load(shared, limit, rate)
    finally:
        done.set()
        thread.join()
    _wait(server)
    lags = sorted(_lags(server.settings))
    return figures | {
        "lag_p50": round(statistics.median(lags), 2),
        "lag_p95": round(lags[int(len(lags) * 0.95)], 2),
        "lag_max": round(lags[-1], 2),
        "probes": len(lags),
        "metric_max": round(max(told), 2),
    }


def _wait(server: _Server) -> None:
    """Wait until everything is followed, and the metric says so."""
    with closing(Store(server.settings.database)) as store:
        while True:
            with store.reading() as connection:
                if queries.following(connection) is not None and not server.lag():
                    return
            time.sleep(1.0)


def _lags(settings: Settings) -> Iterator[float]:
    """Yield, of everybody who entered the probed segment under load, the seconds from their event to that."""
    with closing(Store(settings.database)) as store, store.reading() as connection:
        at = {row.commit_no: row.committed_at for row in connection.execute(select(batches))}
        query = select(events.c.identity_no, events.c.stamped_at).where(events.c.name == _PROBED["event"])
        sent = {row.identity_no: row.stamped_at for row in connection.execute(query)}
        for change in queries.changes_since(connection, 0, 1_000_000):
            if change.name == "s0":
                yield from ((at[change.commit_no] - sent[number]) / SECOND for number in change.entered)


if __name__ == "__main__":
    main()
