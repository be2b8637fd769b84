"""`cdp serve` on loopback, in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from cdp.settings import Settings


@contextmanager
def served(settings: Settings) -> Iterator[tuple[str, int]]:
    """Yield the address and the port of a server that is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {
        **os.environ,
        "CDP_DATA_DIR": str(settings.data_dir),
        "CDP_DATABASE_URL": settings.database_url,
        "CDP_KEYS_DATABASE_URL": settings.keys_database_url,
    }
    command = [sys.executable, "-m", "cdp", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)  # ours
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                if httpx.get(f"{url}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url, port
    finally:
        process.terminate()
        process.wait(timeout=60)


def make_source(url: str, key: str) -> str:
    """Make the source that is loaded from; returns its write key."""
    headers = {"Authorization": f"Bearer {key}"}
    made = httpx.post(f"{url}/api/v1/sources", json={"name": "load", "kind": "server"}, headers=headers)
    write_key: str = made.json()["write_key"]
    return write_key
