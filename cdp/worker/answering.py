"""A process beside this one that answers what it is asked, frame by frame, in order.

Invariants: whoever asked hears exactly once, ``None`` where the process ended before it answered; what is
asked and answered goes through pipes and lies on no disk. A frame is eight bytes of its length and its bytes;
the process says with an empty one that it is ready, and until then nothing can be asked.
"""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import IO

from cdp.worker.clockwork import Beside

Done = Callable[[bytes | None], None]
_LENGTH = 8


class Answering(Beside):
    """The asking side."""

    def __init__(self, command: Sequence[str]) -> None:
        super().__init__(command)
        self._lock = threading.Lock()
        self._asked: deque[Done] | None = None
        self._sending: SimpleQueue[bytes | None] = SimpleQueue()

    @property
    def waiting(self) -> int | None:
        """How many answers it owes; None while nothing can be asked."""
        asked = self._asked
        return None if asked is None else len(asked)

    def ask(self, frame: bytes, done: Done) -> bool:
        """Ask, and have ``done`` told the answer by another thread; False where nothing can be asked."""
        with self._lock:
            if self._asked is None:
                return False
            self._asked.append(done)
            self._sending.put(frame)
        return True

    def _open(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(  # noqa: S603  # our own command
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._sending = SimpleQueue()
        for work in (self._send, self._hear):
            threading.Thread(target=work, args=(process, self._sending), daemon=True).start()
        return process

    @staticmethod
    def _send(process: subprocess.Popen[bytes], sending: SimpleQueue[bytes | None]) -> None:
        assert process.stdin is not None  # noqa: S101  # it was opened with one
        try:
            while (frame := sending.get()) is not None:
                _write(process.stdin, frame)
        except OSError:
            return  # it ended; whoever asked hears of it from the other thread

    def _hear(self, process: subprocess.Popen[bytes], sending: SimpleQueue[bytes | None]) -> None:
        assert process.stdout is not None  # noqa: S101  # it was opened with one
        asked: deque[Done] = deque()
        if _read(process.stdout) is not None:
            with self._lock:
                self._asked = asked
            while (answer := _read(process.stdout)) is not None:
                asked.popleft()(answer)
        with self._lock:
            self._asked = None
        sending.put(None)
        for done in asked:
            done(None)


def answer_all(given: IO[bytes], taken: IO[bytes], answer: Callable[[bytes], bytes]) -> None:
    """Answer each frame until there are no more: the side of the process that is asked."""
    _write(taken, b"")
    while (frame := _read(given)) is not None:
        _write(taken, answer(frame))


def _write(pipe: IO[bytes], frame: bytes) -> None:
    pipe.write(len(frame).to_bytes(_LENGTH) + frame)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes | None:
    """Return the next frame; None at the end, also in the middle of one."""
    length = pipe.read(_LENGTH)
    if len(length) < _LENGTH:
        return None
    frame = pipe.read(int.from_bytes(length))
    return frame if len(frame) == int.from_bytes(length) else None
