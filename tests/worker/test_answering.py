"""A process that answers: each who asked hears once, and of their own, however it ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from cdp.worker import Answering, clockwork

_SECONDS = 20.0
_READ = """
import sys
given, taken = sys.stdin.buffer, sys.stdout.buffer
def write(frame):
    taken.write(len(frame).to_bytes(8) + frame)
    taken.flush()
def frames():
    while length := given.read(8):
        yield given.read(int.from_bytes(length))
write(b"")
"""
ECHO = "for frame in frames(): write(frame)"
ENDS = "for frame in frames(): write(frame) if frame != b'poison' else sys.exit(1)"
SILENT = "for frame in frames(): pass"
TALKATIVE = "for frame in frames(): write(frame); write(b'more')"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Answering]]:
    """Return a function that starts a process and waits until it can be asked."""
    monkeypatch.setattr(clockwork, "_WATCH_SECONDS", 0.01)
    monkeypatch.setattr(clockwork, "_SETTLED_SECONDS", 0.0)
    running: list[Answering] = []

    def start(body: str, patience: float = _SECONDS) -> Answering:
        one = Answering([sys.executable, "-S", "-c", _READ + body], patience)
        running.append(one)
        one.start()
        wait_for(lambda: one.waiting is not None)
        return one

    yield start
    for one in running:
        one.stop()


def wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + _SECONDS
    while not true():
        assert time.monotonic() < until
        time.sleep(0.002)


def asked(one: Answering, frame: bytes) -> Future[bytes | None] | None:
    """Return what is answered; None where nothing could be asked."""
    heard: Future[bytes | None] = Future()
    return heard if one.ask(frame, heard.set_result) else None  # raises where it is told twice


def pid_of(one: Answering) -> int:
    assert one._process is not None
    return one._process.pid


class Askers:
    """Threads that ask one thing after another, each slow to take the answer, as whoever unpacks it."""

    def __init__(self, one: Answering) -> None:
        self._one = one
        self._ending = threading.Event()
        self.heard = self.unanswered = 0
        self.wrong: list[bytes] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(8)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        for call in range(1_000_000):
            if self._ending.is_set():
                return
            self._ask(b"%d %d " % (number, call) + b"." * 5000)

    def _ask(self, frame: bytes) -> None:
        told: Future[bytes | None] = Future()

        def done(answer: bytes | None) -> None:
            time.sleep(0.002)
            told.set_result(answer)

        if not self._one.ask(frame, done):
            time.sleep(0.001)
            return
        answer = told.result(_SECONDS)
        if answer is None:
            self.unanswered += 1
        elif answer == frame:
            self.heard += 1
        else:
            self.wrong.append(frame)

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(_SECONDS)
            assert not thread.is_alive()


def test_whoever_asked_hears_once_and_of_their_own_while_it_is_killed(
    started: Callable[..., Answering],
) -> None:
    one = started(ECHO)
    askers = Askers(one)
    for _ in range(15):
        enough = askers.heard + 10
        wait_for(lambda enough=enough: askers.heard > enough)  # type: ignore[misc]  # the loop's own
        os.kill(pid_of(one), signal.SIGKILL)
    askers.end()
    assert askers.wrong == []
    assert askers.unanswered > 0, "somebody was waiting"


def test_what_ends_it_is_told_to_be_unanswered_and_the_next_is_answered(
    started: Callable[..., Answering],
) -> None:
    one = started(ENDS)
    for _ in range(3):
        wait_for(lambda: one.waiting is not None)
        first, poison = asked(one, b"first"), asked(one, b"poison")
        assert first is not None
        assert poison is not None
        assert (first.result(_SECONDS), poison.result(_SECONDS)) == (b"first", None)


def test_one_that_does_not_answer_is_killed_and_so_is_one_that_answers_what_nobody_asked(
    started: Callable[..., Answering],
) -> None:
    for body, patience, answers in ((SILENT, 0.2, {None}), (TALKATIVE, _SECONDS, {b"x", None})):
        one = started(body, patience)
        before = pid_of(one)
        told = [heard for heard in (asked(one, b"x") for _ in range(3)) if heard is not None]
        assert {heard.result(_SECONDS) for heard in told} <= answers | {b"more"}
        wait_for(lambda before=before, one=one: one._process is None or pid_of(one) != before)  # type: ignore[misc]  # likewise


def test_one_that_ends_at_once_again_and_again_is_not_started_without_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clockwork, "_WATCH_SECONDS", 0.01)
    monkeypatch.setattr(clockwork, "_MOST_PAUSE_SECONDS", _SECONDS)
    starts: list[float] = []

    class Counted(Answering):
        def _look(self) -> None:
            before = self._process
            super()._look()
            if self._process is not before and self._process is not None:
                starts.append(time.monotonic())

    one = Counted([sys.executable, "-S", "-c", "raise SystemExit(1)"])
    one.start()
    time.sleep(1.0)
    assert one.waiting is None
    one.stop()
    assert 3 <= len(starts) <= 8  # after pauses of 0, 20, 60, 140, 300 ms …
