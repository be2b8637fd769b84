"""``python -m benchmarks.kills``: the server is killed at random points under load, again and again.

Each round: let the client send for a moment, kill the server (SIGKILL, all its processes), start it again,
and look: every event that was acknowledged is stored exactly once, every other one at most once, and who was
acknowledged as refusing stands as that. At the end the client's retries complete it, and all profiles are
those of a platform that took the same events undisturbed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Protocol

import httpx

from benchmarks.databases import fresh_databases, fresh_platform
from benchmarks.sending import SIZE, Sending, sending
from benchmarks.standing import Person, counted, source_of, standing, store, times_stored, unrestrained
from cdp import app
from cdp.access import Source
from cdp.api import Services
from cdp.settings import Settings

ROUNDS = 50
_LEAST, _MOST = 0.1, 0.9  # seconds of load before a kill


class Server(Protocol):
    """What a round needs of a server."""

    def start(self) -> None:
        """Start it, and wait until it is ready."""

    def kill(self) -> None:
        """End it with SIGKILL."""


def rounds(
    services: Services, source: Source, server: Server, client: Sending, times: int, seed: int
) -> list[str]:
    """Kill a server that runs under the load of a client, and start it again; returns what was wrong.

    :param services: of a platform over the same databases, which only reads.
    """
    chance = random.Random(seed)  # repeatable moments
    wrong: list[str] = []
    for turn in range(times):
        before = len(client.acknowledged())
        while len(client.acknowledged()) <= before:  # it is under load, whatever the machine is busy with
            time.sleep(0.01)
        time.sleep(chance.uniform(_LEAST, _MOST))
        server.kill()
        acknowledged = client.acknowledged()
        server.start()
        wrong += [f"round {turn}: {fault}" for fault in faults(services, source, client, acknowledged)]
    return wrong


def faults(services: Services, source: Source, client: Sending, acknowledged: set[int]) -> list[str]:
    """Return what is wrong with what is stored, in words."""
    tried = range(max((one.number for one in client.tries()), default=0) + 100)  # some are on their way
    stored = times_stored(services, source, tried)
    events = [number for call in acknowledged for number in range(call * SIZE, (call + 1) * SIZE)]
    lost = sum(not stored[number] for number in events)
    doubled = sum(times > 1 for number, times in stored.items() if number >= 0)
    free = unrestrained(services, acknowledged)
    found = {"lost": lost, "doubled": doubled, "of nobody": stored[-1], "no longer refused": len(free)}
    return [f"{count} {what}" for what, count in found.items() if count]


def unlike(services: Services, source: Source, client: Sending) -> list[str]:
    """Have the client end; returns in what the outcome differs from an undisturbed one, in words."""
    tried = client.finish()
    calls = {one.number for one in tried}
    wrong = faults(services, source, client, calls)
    with fresh_platform("sqlite") as other:
        theirs, _ = source_of(other.services)
        store(other.services, theirs, calls)
        expected = standing(other.services, theirs, calls)
    found = standing(services, source, calls)
    for part, name in enumerate(Person._fields):
        different = len({(one.identifiers, one[part]) for one in found ^ expected}) // 2
        if different:
            wrong.append(f"{different} profiles have other {name} than after an undisturbed run")
    sums = counted(services)
    if sums["stored"] != len(calls) * SIZE or sums["quarantined"] or sums["suppressed"] or sums["refused"]:
        wrong.append("the audit log counts other events than there are")
    with services.store.reading() as connection:
        if not services.audit.verify(connection).ok:
            wrong.append("the audit log does not verify")
    return wrong


class Served:
    """``cdp serve`` on a port of its own, which may be started again after it was killed."""

    def __init__(self, settings: Settings) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._environment = {
            **os.environ,
            "CDP_DATA_DIR": str(settings.data_dir),
            "CDP_DATABASE_URL": settings.database_url,
            "CDP_KEYS_DATABASE_URL": settings.keys_database_url,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        command = [sys.executable, "-m", "cdp", "serve", "--port", str(self.port)]
        self._process = subprocess.Popen(
            command, env=self._environment, stdout=subprocess.DEVNULL, start_new_session=True
        )
        for _ in range(600):
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError("the server did not become ready")

    def kill(self) -> None:
        """End all its processes with SIGKILL."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def measure(kind: str, times: int, seed: int = 1) -> dict[str, object]:
    """Kill ``cdp serve`` so many times on a fresh database of a kind; returns what was wrong, in words."""
    with tempfile.TemporaryDirectory(prefix="cdp-bench-") as name:
        folder = Path(name)
        with fresh_databases(kind, folder) as (database, keys):
            settings = Settings(data_dir=folder, database_url=database, keys_database_url=keys)
            app.initialise(settings)
            with closing(app.build(settings)) as platform:
                services = platform.services
                source, write_key = source_of(services)
                server = Served(settings)
                try:
                    server.start()
                    with sending(folder / "tries", write_key, [server.port]) as client:
                        wrong = rounds(services, source, server, client, times, seed)
                        wrong += unlike(services, source, client)
                        events = len({one.number for one in client.tries()}) * SIZE
                finally:
                    server.kill()
    return {"rounds": times, "events": events, "wrong": wrong}


def main() -> None:
    """Run the rounds on both stores and print what was wrong; exit with 1 where anything was."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    found = {kind: measure(kind, arguments.rounds, arguments.seed) for kind in arguments.stores}
    print(json.dumps(found, indent=2))
    sys.exit(any(one["wrong"] for one in found.values()))


if __name__ == "__main__":
    main()
