"""``python -m benchmarks.ingest``: events committed a second, through HTTP, with everything on.

Steps for each store: 1. start ``cdp serve`` on a fresh data directory. 2. Load the events of ``mix.py`` in
calls of 100 from another process: some to warm up, then more, timed; say what each cost the processors' time.
3. With ``--single``: calls of one event, as many as ``wrk`` gets through, and half of that at a steady pace.
4. With ``--grow``: load up to so many events and time once more; say how much memory the server used at most.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.databases import fresh_databases
from benchmarks.mix import Crowd
from benchmarks.processes import most_memory, used
from benchmarks.server import make_source, served
from cdp import app
from cdp.settings import Settings

Figures = dict[str, float]
_PIECE = 500_000
_WRK_SECONDS, _PACED = 15, 20_000
_SCRIPT = """
local thread = 0
function setup(started) started:set("number", thread); thread = thread + 1 end
function init() sent = 0 end
function request()
  sent = sent + 1
  return wrk.format("POST", "/v1/track", {["Content-Type"] = "application/json"}, string.format(
    '{"writeKey":"%s","event":"Product Viewed","messageId":"w%d-%d","anonymousId":"w%d",' ..
    '"properties":{"product_id":"p%d","price":12.5},"context":{"library":{"name":"wrk","version":"4"}}}',
    "WRITE_KEY", number, sent, sent % 5000, sent % 700))
end
"""


class Loader(NamedTuple):
    """Sends the events of a crowd from processes of their own."""

    crowd: Crowd
    port: int
    write_key: str
    batch: int
    connections: int

    def send(self, events: int, rate: float | None = None) -> Figures:
        """Send the next events; returns the figures of their process."""
        known = f"crowd:{self.crowd.browsers},{self.crowd.users},{self.crowd.sent}"
        command = [
            sys.executable, "-m", "benchmarks.load", "127.0.0.1", str(self.port), self.write_key,
            known, str(self.batch), str(self.connections), str(events),
        ]  # fmt: skip
        if rate is not None:
            command.append(str(rate))
        done = subprocess.run(command, capture_output=True, check=True, text=True)  # our own module
        for _ in self.crowd.messages(events):
            pass  # so that the next go on from there
        figures: Figures = json.loads(done.stdout)
        figures["events_per_second"] = round(figures["events"] / figures["seconds"])
        return figures


def main() -> None:
    """Run the measurement and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--single", action="store_true")
    parser.add_argument("--grow", type=int, default=0, help="events stored before the last timing")
    arguments = parser.parse_args()
    print(json.dumps({store: _run(store, arguments) for store in arguments.stores}, indent=2))


def _run(store: str, arguments: argparse.Namespace) -> dict[str, Figures]:
    folder = Path(tempfile.mkdtemp(prefix="cdp-bench-"))
    try:
        with fresh_databases(store, folder) as (database, keys):
            settings = Settings(data_dir=folder, database_url=database, keys_database_url=keys)
            app.initialise(settings)
            with served(settings) as (url, port):
                key = (folder / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
                write_key = make_source(url, key)
                loader = Loader(Crowd(), port, write_key, arguments.batch, arguments.connections)
                loader.send(arguments.events // 5)
                found = {"batches": _timed(loader, arguments.events)}
                if arguments.single:
                    found["single"] = _single(loader)
                if arguments.grow:
                    found["grown"] = _grown(loader, arguments.events, arguments.grow)
                found["memory"] = {name: round(size) for name, size in most_memory().items()}
                return found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _timed(loader: Loader, events: int) -> Figures:
    """Send events; the figures have the microseconds of processor time an event, by process."""
    before = used()
    done = loader.send(events)
    spent = {name: seconds - before.get(name, 0.0) for name, seconds in used().items()}
    spent["client"] = done.pop("client_seconds")
    return done | {f"{name}_us": round(1e6 * seconds / events, 1) for name, seconds in spent.items()}


def _single(loader: Loader) -> Figures:
    """Calls of one event: as many as wrk gets through, and half of that at a steady pace."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT.replace("WRITE_KEY", loader.write_key))
        script.flush()
        command = ["wrk", "-t1", "-c64", f"-d{_WRK_SECONDS}s", "--latency", "-s", script.name]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{loader.port}"], capture_output=True, check=True, text=True
        )
    if "Non-2xx" in done.stdout:
        raise SystemExit(done.stdout)
    rate = next(float(line.split()[1]) for line in done.stdout.splitlines() if "Requests/sec" in line)
    paced = loader._replace(batch=1).send(_PACED, rate / 2)
    return {"calls_per_second": round(rate), "half_p50_ms": paced["p50_ms"], "half_p99_ms": paced["p99_ms"]}


def _grown(loader: Loader, events: int, wanted: int) -> Figures:
    started = time.perf_counter()
    while loader.crowd.sent < wanted:
        done = loader.send(min(_PIECE, wanted - loader.crowd.sent + 1))
        print(f"{loader.crowd.sent:,} {done['events_per_second']:,.0f}/s", most_memory(), file=sys.stderr)
    return _timed(loader, events) | {"loading_seconds": round(time.perf_counter() - started)}


if __name__ == "__main__":
    main()
