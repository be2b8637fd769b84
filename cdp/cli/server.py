"""The HTTP server of ``cdp serve``: one process that listens and answers, and this one, which looks after it.

How it ends: (1) at SIGTERM or SIGINT the answering process takes no new connection and closes those that
are idle; whoever still sends gets 503; (2) what waits in the queue is written and its callers are answered;
(3) the platform is closed. After ``CDP_DRAIN_TIMEOUT_S`` seconds, or at a second signal, it is killed
instead: whoever was answered 200 has their events stored all the same, and all others send theirs again.

HTTP/1 alone: told to guess the version, the server waits for a connection's first bytes without end.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.mp import MPServer

from cdp.app import create
from cdp.settings import Settings, load

_HEADER_BYTES = 64 * 1024  # of a request line and headers; a pixel has its event in its address
_OTHER_FILES = 256  # open files beside connections: databases, mirror, journal


class _Server(MPServer):
    """A server that a second signal ends at once."""

    def signal_handler_interrupt(self, *_: object, **__: object) -> None:
        """Begin to end at a first signal; at a second one, kill what has not ended."""
        if self.interrupt_signal:
            for worker in self.wrks:
                worker.kill()  # type: ignore[no-untyped-call]  # as Granian has it
        super().signal_handler_interrupt()  # type: ignore[no-untyped-call]  # likewise


def server(settings: Settings, host: str, port: int) -> MPServer:
    """Make the server; ``serve`` of it returns when it has ended."""
    return _Server(
        "cdp.cli.server:application",
        factory=True,
        interface=Interfaces.ASGI,
        address=host,
        port=port,
        workers=1,  # SQLite has one writing process; PostgreSQL scales by more servers
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=settings.header_timeout_s * 1000, max_buffer_size=_HEADER_BYTES
        ),
        backpressure=_connections(settings.max_connections),
        workers_kill_timeout=settings.drain_timeout_s,
        websockets=False,
        log_access=False,
    )


def application() -> object:
    """Return the ASGI application; the server's answering process calls this."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    app = create(load(), mirror_apart=True)
    app.on_startup.append(lambda: _at_signals(app.state.platform.writer.close))
    return app


def _connections(wanted: int) -> int:
    """Return how many connections may be open at once, of which each is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        files = min(files, hard)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(1, min(wanted, files - _OTHER_FILES))


def _at_signals(begin: Callable[[], None]) -> None:
    """Call ``begin`` as soon as the process is told to end; the server tells it only after the last answer.

    The event loop hears of signals by a descriptor that they are written to, whichever handler they have.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(signum: int, frame: FrameType | None, then: object = before) -> None:
            begin()
            if callable(then):
                then(signum, frame)

        signal.signal(number, handle)
        signal.siginterrupt(number, False)  # as the event loop does


def _end_with(parent: int) -> None:
    """End this process when the one that started it was killed: nobody else would, and it holds the lock."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
