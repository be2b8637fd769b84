"""The batching writer: concurrent calls become few transactions.

``Writer`` runs the pure stages in the caller's thread, while its own waits for the database; it gathers
whatever waits into one micro-batch, stores it, and resolves each caller's future after the commit: one
slow disk flush serves many calls.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future

from cdp.errors import OverloadedError, UnavailableError
from cdp.ingest import Delivery, Prepared
from cdp.pipeline import Outcome, Pipeline

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
                outcome = self._pipeline.store(Prepared.of(prepared for prepared, _ in batch))
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
        return self._pipeline.store(self._pipeline.prepare(deliveries))
