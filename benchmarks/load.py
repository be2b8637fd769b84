"""The client of the ingest benchmark, in a process of its own.

``python -m benchmarks.load HOST PORT WRITE_KEY SHARED BATCH CONNECTIONS LIMIT [RATE]`` builds every body
first, then sends them over a few kept-alive connections on loopback and prints one JSON object. With a rate
the events happen as they are sent, so many a second; 0 is as many as are taken. SHARED is the folder of the
order lines, or ``crowd:BROWSERS,USERS,SENT`` for the made-up events of ``mix.py``, which go on from there.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import sys
import threading
import time
from collections import deque
from pathlib import Path

from benchmarks.mix import Crowd
from benchmarks.retail import bodies


def main() -> None:
    """Run the load."""
    host, port, write_key, shared, size, connections, limit, *rate = sys.argv[1:]
    if shared.startswith("crowd:"):
        crowd = Crowd(*map(int, shared.removeprefix("crowd:").split(",")))
        waiting = deque(crowd.bodies(int(limit), int(size)))
    else:
        waiting = deque(bodies(Path(shared), int(size), int(limit) or None, live=bool(rate)))
    paced = float(rate[0]) if rate else 0.0
    events = sum(count for count, _ in waiting)
    calls: list[float] = []
    refused: list[int] = []
    sent = itertools.count()
    headers = {
        "Authorization": "Basic " + base64.b64encode(f"{write_key}:".encode()).decode(),
        "Content-Type": "application/json",
    }

    def work() -> None:
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        while True:
            try:
                _, body = waiting.popleft()
            except IndexError:
                return
            if paced:
                time.sleep(max(0.0, begun + next(sent) * int(size) / paced - time.perf_counter()))
            started = time.perf_counter()
            connection.request("POST", "/v1/batch", body, headers)
            answer = connection.getresponse()
            answer.read()
            calls.append(time.perf_counter() - started)
            if answer.status != 200:
                refused.append(answer.status)

    built = time.process_time()
    threads = [threading.Thread(target=work) for _ in range(int(connections))]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    calls.sort()
    print(
        json.dumps(
            {
                "events": events,
                "seconds": seconds,
                "calls": len(calls),
                "p50_ms": 1000 * calls[len(calls) // 2],
                "p99_ms": 1000 * calls[int(len(calls) * 0.99)],
                "refused": len(refused),
                "client_seconds": time.process_time() - built,
            }
        )
    )


if __name__ == "__main__":
    main()
