"""The client of the ingest benchmark, in a process of its own.

``python -m benchmarks.load HOST PORT WRITE_KEY SHARED BATCH CONNECTIONS LIMIT`` builds every body first,
then sends them over a few kept-alive connections on loopback and prints one JSON object.
"""

from __future__ import annotations

import base64
import http.client
import json
import sys
import threading
import time
from collections import deque
from pathlib import Path

from benchmarks.retail import bodies


def main() -> None:
    """Run the load."""
    host, port, write_key, shared, size, connections, limit = sys.argv[1:]
    waiting = deque(bodies(Path(shared), int(size), int(limit) or None))
    events = sum(count for count, _ in waiting)
    calls: list[float] = []
    refused: list[int] = []
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
            started = time.perf_counter()
            connection.request("POST", "/v1/batch", body, headers)
            answer = connection.getresponse()
            answer.read()
            calls.append(time.perf_counter() - started)
            if answer.status != 200:
                refused.append(answer.status)

    threads = [threading.Thread(target=work) for _ in range(int(connections))]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
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
            }
        )
    )


if __name__ == "__main__":
    main()
