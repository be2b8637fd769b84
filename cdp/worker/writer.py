"""The batching writer: concurrent calls become few transactions.

``Writer`` runs the pure stages in the caller's thread, while its own waits for the database; it gathers
whatever waits into one micro-batch, stores it, and answers its callers after the commit: one slow disk
flush serves many calls, and one wake-up of an event loop all callers in it. While calls follow each other it
waits some milliseconds for more before it stores a few.

A call is (1) refused while the writer stops, (2) admitted, if the room and its source's rate allow it, (3)
else, where it may restrain somebody, admitted to the reserve, (4) prepared, (5) put in line: what restrains
before what does not; given back, if it came by the reserve and restrains nobody. Its events stay together.
The order of calls decides nothing: who is linked to whom, and which word holds, follow from times.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

import msgspec
from prometheus_client import Counter, Gauge

from cdp.errors import OverloadedError, UnavailableError
from cdp.ingest import Delivery, Prepared
from cdp.pipeline import Outcome, Pipeline
from cdp.worker import restraining
from cdp.worker.preparing import Preparing
from cdp.worker.rates import Rates
from cdp.worker.room import FULL, Place, Room

_GATHER_SECONDS = 0.004  # in which few calls become more: a transaction alone costs as much as 40 events
_LATELY_SECONDS = 0.05  # within which calls follow each other
_MANY = 250  # events whose preparing would hold an event loop up for too long
_REFUSED = Counter("cdp_queue_refused_calls", "Calls that the writer did not take, by why", ["reason"])
_RESERVE = Counter("cdp_queue_reserve_calls", "Calls that restrain somebody, taken while others were refused")
_EVENTS = Gauge("cdp_queue_events", "Events that wait or are being stored")
_BYTES = Gauge("cdp_queue_bytes", "Bytes of bodies being read and of events that wait or are being stored")
_OLDEST = Gauge("cdp_queue_oldest_seconds", "How long the call has waited that waits longest")
_DRAINED = Gauge("cdp_queue_drained_events_per_second", "Events stored a second of late, while any waited")

Answer = Future[Outcome] | asyncio.Future[Outcome]


class _RefusedError(OverloadedError):
    """A call is not taken now."""

    def __init__(self, reason: str, message: str, retry_after: int) -> None:
        self.reason = reason
        super().__init__(message, retry_after=retry_after)


class _Call(msgspec.Struct, frozen=True, gc=False):
    """One delivery in line.

    :param alone: it is a micro-batch of its own.
    """

    prepared: Prepared
    place: Place
    answer: Answer
    since: float
    alone: bool = False


class Writer:
    """Turns concurrent deliveries into micro-batches.

    :param batch_events: most events in one micro-batch.
    :param room: bounds what waits.
    :param preparing: prepares in other processes what is worth it; None where there are none.
    """

    def __init__(
        self, pipeline: Pipeline, *, batch_events: int, room: Room, preparing: Preparing | None = None
    ) -> None:
        self.room = room
        self.preparing = preparing
        self._pipeline = pipeline
        self._batch_events = batch_events
        self._rates = Rates()
        self._first: deque[_Call] = deque()
        self._waiting: deque[_Call] = deque()
        self._stored: list[_Call] = []  # at this moment
        self._coming = 0  # admitted, and being prepared
        self._open = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._figures: dict[Gauge, Callable[[], float]] = {
            _EVENTS: lambda: room.events,
            _BYTES: lambda: room.bytes + room.reading,
            _OLDEST: self._oldest,
            _DRAINED: lambda: room.rate or 0,
        }

    def start(self) -> None:
        """Start the writing thread."""
        self._open = True
        for gauge, figure in self._figures.items():
            gauge.set_function(figure)
        self._thread.start()

    def close(self) -> None:
        """Refuse new deliveries from now on; those that wait are written. A signal's handler may call it."""
        with self._changed:
            self._open = False
            self._changed.notify()

    def stop(self) -> None:
        """Refuse new deliveries, write those that wait, and end."""
        self.close()
        if self._thread.is_alive():
            self._thread.join()
        for gauge in self._figures:
            gauge.set_function(float)  # 0, and nothing of this platform is held any longer

    def check(self) -> None:
        """Let pass while deliveries are taken.

        :raises UnavailableError: the writer is stopping.
        """
        if not self._open:
            raise UnavailableError("the server is shutting down")

    def submit(self, delivery: Delivery, *, alone: bool = False) -> Future[Outcome]:
        """Hand over a delivery; the future has the outcome of its micro-batch once committed.

        :param alone: in a micro-batch of its own, for somebody who is told what became of it.
        :raises OverloadedError: its source sends too much, or too many events wait.
        :raises UnavailableError: the writer is stopping.
        """
        answer: Future[Outcome] = Future()
        self._put(delivery, *self._admitted(delivery), answer, alone=alone)
        return answer

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Hand over a delivery and wait for the commit of its micro-batch: ``submit`` in an event loop."""
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        place, refusal = self._admitted(delivery)
        if place.events > _MANY:
            await asyncio.to_thread(self._put, delivery, place, refusal, answer)
        else:
            self._put(delivery, place, refusal, answer)
        return await answer

    def write(self, deliveries: list[Delivery]) -> Outcome:
        """Run the pipeline over deliveries in the calling thread."""
        return self._pipeline.store(self._pipeline.prepare(deliveries))

    # -- in the caller's thread -----------------------------------------------------------------

    def _admitted(self, delivery: Delivery) -> tuple[Place, _RefusedError | None]:
        """Return the delivery's place and, where that is one of the reserve, why (steps 1 to 3)."""
        with self._changed:
            if not self._open:
                _REFUSED.labels("stopping").inc()
            self.check()
            self._coming += 1
        try:
            return self._enter(delivery), None
        except _RefusedError as refusal:
            if restraining.may(delivery):
                with suppress(_RefusedError):
                    return self._enter(delivery, spare=True), refusal
            self._given_back(None, refusal)
            raise

    def _enter(self, delivery: Delivery, *, spare: bool = False) -> Place:
        source, events = delivery.source, len(delivery.messages)
        place = self.room.enter(source.source_id, events, sum(map(len, delivery.messages)), spare=spare)
        if place is None:
            raise _RefusedError("full", FULL, self.room.wait())
        if wait := self._rates.take(source, events, restrains=spare):
            self.room.leave([place])
            raise _RefusedError("rate", "this source is over its events_per_second", wait)
        return place

    def _put(
        self,
        delivery: Delivery,
        place: Place,
        refusal: _RefusedError | None,
        answer: Answer,
        *,
        alone: bool = False,
    ) -> None:
        """Prepare a delivery, here or apart, and put it in line (steps 4 and 5)."""
        if refusal is None and self.preparing is not None:
            done = partial(self._lined, place, answer, alone=alone)
            if self.preparing.ask(delivery, done):
                return
        try:
            prepared = self._pipeline.prepare([delivery])
            restrains = restraining.does(prepared)
        except BaseException:
            self._given_back(place)
            raise
        if refusal is not None:
            if not restrains:
                self._given_back(place, refusal)
                raise refusal
            _RESERVE.inc()
        self._line(_Call(prepared, place, answer, time.monotonic(), alone), restrains=restrains)

    def _lined(self, place: Place, answer: Answer, prepared: Callable[[], Prepared], *, alone: bool) -> None:
        """Put what another process prepared in line, in the thread that heard of it."""
        try:
            call = _Call(prepared(), place, answer, time.monotonic(), alone)
            restrains = restraining.does(call.prepared)
        except BaseException as error:  # noqa: BLE001  # it belongs to the caller that waits
            self._given_back(place)
            _answer([answer], error)
        else:
            self._line(call, restrains=restrains)

    def _line(self, call: _Call, *, restrains: bool) -> None:
        with self._changed:
            self._coming -= 1
            (self._first if restrains else self._waiting).append(call)
            self._changed.notify()

    def _given_back(self, place: Place | None, refusal: _RefusedError | None = None) -> None:
        if place is not None:
            self.room.leave([place])
        if refusal is not None:
            _REFUSED.labels(refusal.reason).inc()
        with self._changed:
            self._coming -= 1
            self._changed.notify()

    # -- in the writer's thread -----------------------------------------------------------------

    def _run(self) -> None:
        ended = 0.0
        while batch := self._next(ended):
            started = time.monotonic()
            outcome: Outcome | BaseException
            try:
                outcome = self._pipeline.store(Prepared.of(call.prepared for call in batch))
            except BaseException as error:  # noqa: BLE001  # it belongs to the callers that wait
                outcome = error
            places = [call.place for call in batch]
            stored = 0 if isinstance(outcome, BaseException) else sum(place.events for place in places)
            self._stored = []
            self.room.drained(stored, time.monotonic() - started)
            self.room.leave(places)
            ended = time.monotonic()
            _answer([call.answer for call in batch], outcome)

    def _next(self, ended: float) -> list[_Call]:
        """Wait for deliveries and take as many as one micro-batch holds; empty at the end.

        What restrains goes first, and leaves half of the micro-batch to what else waits.

        :param ended: when the last micro-batch did; a call that comes by itself does not wait for others.
        """
        batch: list[_Call] = []
        events = 0
        with self._changed:
            while not (self._first or self._waiting) and (self._open or self._coming):
                self._changed.wait()
        if self.room.events < self._batch_events and time.monotonic() - ended < _LATELY_SECONDS:
            time.sleep(_GATHER_SECONDS)
        with self._changed:
            for line, upto in (
                (self._first, max(1, self._batch_events // 2)),
                (self._waiting, self._batch_events),
                (self._first, self._batch_events),
            ):
                while line and (not batch or (events < upto and not (line[0].alone or batch[0].alone))):
                    batch.append(line.popleft())
                    events += batch[-1].place.events
            self._stored = batch
        return batch

    def _oldest(self) -> float:
        with self._changed:
            calls = [*self._stored, *self._first, *self._waiting]
        return max((time.monotonic() - call.since for call in calls), default=0.0)


def _answer(answers: Sequence[Answer], outcome: Outcome | BaseException) -> None:
    """Give callers the outcome: threads directly, all callers in an event loop by one call into it."""
    loops: defaultdict[asyncio.AbstractEventLoop, list[Answer]] = defaultdict(list)
    for answer in answers:
        if isinstance(answer, asyncio.Future):
            loops[answer.get_loop()].append(answer)
        elif answer.set_running_or_notify_cancel():
            _tell([answer], outcome)
    for loop, waiting in loops.items():
        with suppress(RuntimeError):  # the loop is closed, and so are its connections
            loop.call_soon_threadsafe(_tell, waiting, outcome)


def _tell(answers: Sequence[Answer], outcome: Outcome | BaseException) -> None:
    for answer in answers:
        if answer.done():
            continue  # its caller is gone
        if isinstance(outcome, BaseException):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
