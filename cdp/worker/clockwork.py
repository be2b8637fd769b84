"""The clockwork: what is done again and again, in threads and in processes beside this one.

What it does is chosen in ``cdp/app/schedule.py``, and can be repeated without harm.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Sequence

import structlog

log = structlog.get_logger()
_WATCH_SECONDS = 2.0
_SETTLED_SECONDS = 10.0
_MOST_PAUSE_SECONDS = 60.0


class Periodic:
    """A thread that calls ``work`` every ``seconds``.

    A failure is logged and the next turn tries again: the work must be repeatable.
    """

    def __init__(self, name: str, seconds: float, work: Callable[[], object]) -> None:
        self._name = name
        self._seconds = seconds
        self._work = work
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End after the turn in hand."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def run_while(self, wanted: Callable[[], bool]) -> None:
        """Do the work in the calling thread, for as long as it is wanted."""
        while wanted():
            try:
                self._work()
            except Exception as error:  # noqa: BLE001  # the next turn tries again
                log.warning("periodic work failed", work=self._name, error=type(error).__name__)
            if self._stopping.wait(self._seconds):
                return

    def _run(self) -> None:
        self.run_while(lambda: True)


class Beside:
    """A process of ours beside this one; looked after every few seconds, and started again if it ended.

    One that ends again and again soon after its start is given longer and longer pauses, up to a minute.

    :param command: arguments; the process inherits the environment and ends when this one does.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._earliest = self._pause = 0.0
        self._watch = Periodic("beside", _WATCH_SECONDS, self._look)

    def start(self) -> None:
        """Start it, and watch over it."""
        self._watch.start()

    def stop(self) -> None:
        """End it."""
        self._watch.stop()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _look(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            log.warning("a process ended and is started again", status=self._process.returncode)
            self._process = None
            now = time.monotonic()
            if now - self._started > _SETTLED_SECONDS:
                self._pause = 0.0
            self._earliest = now + self._pause
            self._pause = min(2 * self._pause + _WATCH_SECONDS, _MOST_PAUSE_SECONDS)
        if self._process is None and time.monotonic() >= self._earliest:
            self._started = time.monotonic()
            self._process = self._open(self._command)

    def _open(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command)  # noqa: S603  # our own command


class Worker:
    """The clockwork: mirror, checkpoints, housekeeping."""

    def __init__(self, tasks: Sequence[Periodic | Beside]) -> None:
        self._tasks = tasks

    def start(self) -> None:
        """Start every task."""
        for task in self._tasks:
            task.start()

    def stop(self) -> None:
        """Stop every task, in reverse order."""
        for task in reversed(self._tasks):
            task.stop()
