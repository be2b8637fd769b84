"""A process beside this one that answers what it is asked, frame by frame, in order.

Invariants: whoever asked hears exactly once, ``None`` where the process ended before it answered; what is
asked and answered goes through pipes and lies on no disk. The process says with an empty frame that it is
ready, and until then nothing can be asked. One that owes an answer and gives none for ``_PATIENCE_SECONDS``
is killed, and started again as one that ended.

The process ends with its standard input, so also with a server that was killed, and with nothing else: an
interrupt of the whole group, or a service manager that ends every process of it, leaves it to the server to
drain.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import IO

import structlog

from cdp.ingest import apart
from cdp.worker.clockwork import Beside

log = structlog.get_logger()
Done = Callable[[bytes | None], None]
_PATIENCE_SECONDS = 10.0


class _Line:
    """One process, and who waits for what it answers.

    :ivar ready: it can be asked.
    :ivar since: when it began to owe the answer that it owes first, seconds of the monotonic clock.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.ready = False
        self.asked: deque[Done] = deque()
        self.since = 0.0
        self.sending: SimpleQueue[bytes | None] = SimpleQueue()


class Answering(Beside):
    """The asking side."""

    def __init__(self, command: Sequence[str], patience: float = _PATIENCE_SECONDS) -> None:
        super().__init__(command)
        self._patience = patience
        self._lock = threading.Lock()
        self._line: _Line | None = None

    @property
    def waiting(self) -> int | None:
        """How many answers it owes; None while nothing can be asked."""
        line = self._line
        return len(line.asked) if line is not None and line.ready else None

    def ask(self, frame: bytes, done: Done) -> bool:
        """Ask, and have ``done`` told the answer by another thread; False where nothing can be asked."""
        with self._lock:
            line = self._line
            if line is None or not line.ready:
                return False
            if not line.asked:
                line.since = time.monotonic()
            line.asked.append(done)
            line.sending.put(frame)
        return True

    def stop(self) -> None:
        """End it. Nothing is lost: what it still owed is told to be unanswered."""
        self._watch.stop()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _look(self) -> None:
        line = self._line
        if line is not None and line.asked and time.monotonic() - line.since > self._patience:
            log.warning("a process does not answer and is killed", owed=len(line.asked))
            line.process.kill()
            line.process.wait()
        super()._look()

    def _open(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(  # noqa: S603  # our own command
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._line = line = _Line(process)
        for work in (self._send, self._hear):
            threading.Thread(target=work, args=(line,), daemon=True).start()
        return process

    @staticmethod
    def _send(line: _Line) -> None:
        assert line.process.stdin is not None  # noqa: S101  # it was opened with one
        with suppress(OSError), line.process.stdin as pipe:  # if it ends, the other thread tells who asked
            while (frame := line.sending.get()) is not None:
                apart.write_frame(pipe, frame)

    def _hear(self, line: _Line) -> None:
        assert line.process.stdout is not None  # noqa: S101  # it was opened with one
        with line.process.stdout as pipe:
            try:
                self._hear_all(line, pipe)
            except Exception as error:  # noqa: BLE001  # it answers what nobody can make anything of
                log.warning("a process is killed for what it answers", error=type(error).__name__)
        line.process.kill()
        with self._lock:
            line.ready = False
        line.sending.put(None)
        for done in line.asked:
            done(None)

    def _hear_all(self, line: _Line, pipe: IO[bytes]) -> None:
        if apart.read_frame(pipe) is None:
            return
        line.ready = True
        while (answer := apart.read_frame(pipe)) is not None:
            done = line.asked.popleft()
            line.since = time.monotonic()
            done(answer)
