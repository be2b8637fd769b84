"""The server in a process of its own that a test may kill, forked from one that has loaded it all.

It is the application and the HTTP server of ``cdp serve``, without the process that watches over it and with
the warehouse kept current inside: to start those takes ten seconds of processor time, this takes one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
from forked import CONTEXT
from granian.constants import Interfaces
from granian.server.embed import Server as Embedded

from benchmarks.sending import Sending, Try
from cdp.settings import Settings

_READY_SECONDS = 60.0
_BOUND = 15.0  # seconds within which every call is answered, on a busy machine


def _serve(settings: Settings, port: int, log: Path) -> None:
    from cdp import app  # noqa: PLC0415  # the process that forks has loaded it

    os.umask(0o077)
    errors = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(errors, sys.stderr.fileno())

    async def run() -> None:
        server = Embedded(
            lambda: app.create(settings),
            port=port,
            interface=Interfaces.ASGI,
            factory=True,
            log_enabled=False,
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
        await server.serve()

    asyncio.run(run())


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Running:
    """A server on a port, which may be started again after it ended.

    :param log: where its standard error goes.
    """

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings = settings
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._process: BaseProcess | None = None

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it is ready."""
        process = CONTEXT.Process(target=_serve, args=(self.settings, self.port, self._log))
        process.start()
        self._process = process
        if wait:
            self.wait_until(ready=True)

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def stop(self) -> None:
        """End it as an operator does."""
        if self._process is not None and self._process.is_alive():
            self._process.terminate()
            self._process.join(20)
            self.kill()

    def alive(self) -> bool:
        """Tell whether the process that was started runs."""
        return self._process is not None and self._process.is_alive()

    def ready(self) -> dict[str, bool] | None:
        """Return what `/health/ready` says of each part; None where nobody answers."""
        try:
            answer = httpx.get(f"{self.url}/health/ready", timeout=30)
        except httpx.TransportError:
            return None
        checks: dict[str, bool] = answer.json()["checks"]
        assert all(checks.values()) == (answer.status_code == 200)
        return checks

    def wait_until(self, *, ready: bool, part: str = "") -> None:
        """Wait until it says that it, or one part of it, is ready or not."""
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline and self.alive():
            checks = self.ready()
            if checks is not None and (checks[part] if part else all(checks.values())) == ready:
                return
            time.sleep(0.02)
        said = self._log.read_text(encoding="utf-8")[-2000:] if self._log.exists() else ""
        raise AssertionError(f"{part or 'the server'} did not become {ready=}: {said}")


@contextmanager
def running(settings: Settings, log: Path) -> Iterator[Running]:
    """Yield a server that is ready; it ends with the block."""
    server = Running(settings, log)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def until(client: Sending, status: int) -> None:
    """Wait until a call that began after now was answered so."""
    since, deadline = time.time(), time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if any(one.status == status and one.begun > since for one in client.tries()):
            return
        time.sleep(0.02)
    raise AssertionError(f"no call was answered {status}")


def check_refused(tries: list[Try]) -> None:
    """Check that calls were refused, soon and with the word when to come again, and none otherwise."""
    refused = [one for one in tries if one.status != 200]
    assert {one.status for one in refused} == {503}
    assert all(one.retry_after >= 1 for one in refused)
    assert max(one.seconds for one in tries) < _BOUND


def check_all_runs(server: Running, write_key: str) -> None:
    """The writer answers, and so does what runs beside it: segments see a new event."""
    body = b'{"batch": [{"type": "track", "event": "Seen", "userId": "last"}]}'
    answer = httpx.post(
        f"{server.url}/v1/batch?wait=warehouse", content=body, auth=(write_key, ""), timeout=40
    )
    assert answer.status_code == 200
    server.wait_until(ready=True)
