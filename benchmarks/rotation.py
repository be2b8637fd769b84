"""``python -m benchmarks.rotation``: re-wrapping every DEK under a new KEK, alone and beside ingest.

Steps for each store: 1. make the keys. 2. Ingest for some seconds: the pace without rotation. 3. Rotate while
ingest goes on, as a server does: the same clockwork, in the same process; where the file ends before, the
pace is that until then. 4. Rotate once more without ingest.
Ingest is Online Retail handed to the writer, without HTTP.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.databases import fresh_platform
from benchmarks.retail import bodies
from cdp import app
from cdp.access import Source
from cdp.app import Platform
from cdp.crypto import Rotation
from cdp.ingest import Delivery

_FIRST = 1_000_000_000  # above the identity numbers that ingest will take
_CHUNK = 10_000


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rotation", description=__doc__)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("CDP_SHARED", "../shared")))
    parser.add_argument("--deks", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of ingest without rotation")
    arguments = parser.parse_args()
    print(json.dumps({store: _run(store, arguments) for store in arguments.stores}, indent=2))


def _run(store: str, arguments: argparse.Namespace) -> dict[str, Any]:
    with fresh_platform(store) as platform:
        return _measure(platform, arguments)


def _measure(platform: Platform, arguments: argparse.Namespace) -> dict[str, Any]:
    services = platform.services
    made = arguments.deks // 2  # two domains each
    for start in range(0, made, _CHUNK):  # 1
        services.keyring.create(range(_FIRST + start, _FIRST + min(start + _CHUNK, made)))
    source, _ = services.access.create_source("system", "bench", "server")
    platform.writer.start()
    ingest = _Ingest(platform, source, arguments.shared)
    ingest.thread.start()
    time.sleep(arguments.seconds / 4)  # caches are warm
    alone = ingest.pace(arguments.seconds)  # 2
    stored, started = ingest.stored, time.perf_counter()
    seconds = _rotate(services.rotation)  # 3
    ingest.stop()
    beside = (ingest.stored - stored) / (min(ingest.ended_at, started + seconds) - started)
    return {
        "deks": arguments.deks,
        "seconds_beside_ingest": round(seconds, 1),
        "seconds_alone": round(_rotate(services.rotation), 1),  # 4
        "events_per_s": round(alone),
        "events_per_s_beside_rotation": round(beside),
        "ratio": round(beside / alone, 2),
    }


def _rotate(rotation: Rotation) -> float:
    """Rotate as the worker does, a turn a second, until nothing lies under the old version."""
    started = time.perf_counter()
    version = rotation.begin("system") - 1
    while True:
        rotation.advance()
        found = rotation.status(counted=False).versions
        if next(kek.state for kek in found if kek.version == version) == "retired":
            return time.perf_counter() - started
        time.sleep(app.KEYS_SECONDS)


class _Ingest:
    """A thread that keeps the writer busy, a few deliveries ahead."""

    def __init__(self, platform: Platform, source: Source, shared: Path) -> None:
        self._platform = platform
        self._source = source
        self._bodies: Iterator[tuple[int, bytes]] = iter(bodies(shared, 100, None))
        self._ending = threading.Event()
        self.stored = 0
        self.ended_at = float("inf")
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        waiting: list[Any] = []
        for _, body in self._bodies:
            raw = msgspec.json.decode(body, type=dict[str, msgspec.Raw])["batch"]
            messages = tuple(bytes(message) for message in msgspec.json.decode(raw, type=list[msgspec.Raw]))
            now = self._platform.services.clock.now()
            delivery = Delivery(source=self._source, messages=messages, received_at=now)
            waiting.append(self._platform.writer.submit(delivery))
            if len(waiting) >= 32:
                waiting.pop(0).result()
                self.stored += len(messages)
            if self._ending.is_set():
                break
        self.ended_at = time.perf_counter()  # asked to, or all of the file is stored
        for future in waiting:
            future.result()

    def pace(self, seconds: float) -> float:
        """Return events stored a second, over the coming ``seconds``."""
        before, started = self.stored, time.perf_counter()
        time.sleep(seconds)
        return (self.stored - before) / (time.perf_counter() - started)

    def stop(self) -> None:
        """End, when what was handed over is stored."""
        self._ending.set()
        self.thread.join()


if __name__ == "__main__":
    main()
