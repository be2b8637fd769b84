"""The threads behind the API: the batching writer, the mirror and the clockwork.

``Writer`` runs the pure stages in the caller's thread, while its own waits for the database; it gathers
whatever waits into one micro-batch, stores it, and resolves each caller's future after the commit: one
slow disk flush serves many calls. When a batch fails for a reason
that is not the store's, it is cut in halves until the event that caused it stands alone and goes to
quarantine. ``Worker`` tails ``commit_no`` for the mirror, signs checkpoints and forgets old
de-duplication keys; everything it does can be repeated without harm.
"""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import structlog

from cdp.errors import CdpError, OverloadedError, UnavailableError
from cdp.ingest import Delivery, Reject
from cdp.pipeline import Outcome, Pipeline, Prepared

log = structlog.get_logger()

_WATCH_SECONDS = 2.0
_Waiting = tuple[Prepared, "Future[Outcome]"]


class Writer:
    """Turns concurrent deliveries into micro-batches.

    :param batch_events: most events in one micro-batch.
    :param queue_events: most events that may wait; beyond it calls are refused with 429.
    """

    def __init__(self, pipeline: Pipeline, *, batch_events: int, queue_events: int) -> None:
        self._pipeline = pipeline
        self._batch_events = batch_events
        self._queue_events = queue_events
        self._waiting: deque[_Waiting] = deque()
        self._events = 0
        self._open = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Start the writing thread."""
        self._open = True
        self._thread.start()

    def stop(self) -> None:
        """Refuse new deliveries, write those that wait, and end."""
        with self._changed:
            self._open = False
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, delivery: Delivery) -> Future[Outcome]:
        """Hand over a delivery; the future has the outcome of its micro-batch once committed.

        :raises OverloadedError: too many events wait.
        :raises UnavailableError: the writer is stopping.
        """
        future: Future[Outcome] = Future()
        with self._changed:
            if not self._open:
                raise UnavailableError("the server is shutting down")
            if self._events >= self._queue_events:
                raise OverloadedError("too many events are waiting to be written", retry_after=1)
            self._events += len(delivery.messages)
        prepared = self._pipeline.prepare([delivery])
        with self._changed:
            self._waiting.append((prepared, future))
            self._changed.notify()
        return future

    def _run(self) -> None:
        while batch := self._next():
            waiting = [future for _, future in batch if future.set_running_or_notify_cancel()]
            try:
                outcome = self._store(Prepared.of(prepared for prepared, _ in batch))
            except BaseException as error:  # noqa: BLE001  # it belongs to the callers that wait
                for future in waiting:
                    future.set_exception(error)
            else:
                for future in waiting:
                    future.set_result(outcome)

    def _next(self) -> list[_Waiting]:
        """Wait for deliveries and take as many as one micro-batch holds; empty at the end."""
        with self._changed:
            while not self._waiting and (self._open or self._events):  # some are still being prepared
                self._changed.wait()
            batch: list[_Waiting] = []
            events = 0
            while self._waiting and (not batch or events < self._batch_events):
                batch.append(self._waiting.popleft())
                events += batch[-1][0].size
            self._events -= events
        return batch

    def write(self, deliveries: list[Delivery]) -> Outcome:
        """Run the pipeline over deliveries in the calling thread."""
        return self._store(self._pipeline.prepare(deliveries))

    def _store(self, prepared: Prepared) -> Outcome:
        try:
            return self._pipeline.store(prepared)
        except CdpError:
            raise
        except Exception as error:
            if len(prepared.events) <= 1 and not prepared.events:
                raise
            log.warning("a batch failed and is cut", error=type(error).__name__, events=len(prepared.events))
            return self._isolate(prepared, type(error).__name__)

    def _isolate(self, prepared: Prepared, error: str) -> Outcome:
        events, rejects = prepared.events, prepared.rejects
        if len(events) == 1:
            event = events[0].classified.event
            cause = Reject(event.message, "unexpected", f"the store failed on it: {error}")
            return self._pipeline.store(Prepared([], [*rejects, cause]))
        middle = len(events) // 2
        first = self._store(Prepared(events[:middle], rejects))
        return first.plus(self._store(Prepared(events[middle:], [])))


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

    :param command: arguments; the process inherits the environment and ends when this one does.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
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
        if self._process is None:
            self._process = subprocess.Popen(self._command)  # noqa: S603  # our own command


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
