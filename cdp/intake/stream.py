"""A stream as intake: an answer means sealed and replicated.

Steps of ``submit``: refuse what there is no room for → sort into lanes → seal under the key of the hour →
publish; the future is done when the stream has it. Memory is bounded by what may be under way; where the
stream is away or slow, whoever calls is told to come again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client import Counter, Gauge

from cdp.clock import Clock
from cdp.errors import OverloadedError, TooLargeError, UnavailableError
from cdp.ingest import Delivery
from cdp.intake.envelope import KIND, Envelopes, bucket_of
from cdp.intake.lanes import Sorter
from cdp.intake.model import URGENT, Backlog, Carried
from cdp.policy import Bundle
from cdp.worker import Rates

if TYPE_CHECKING:
    from cdp.intake.jetstream import JetStream  # loads an extra

log = structlog.get_logger()
_PUBLISHED = Counter("cdp_intake_published", "Sealed deliveries that the stream took", ["lane"])
_REFUSED = Counter("cdp_intake_refused", "Deliveries that were not taken", ["cause"])
_WAITING = Gauge("cdp_intake_waiting", "Sealed deliveries in the stream, those in hand included")
_IN_HAND = Gauge("cdp_intake_in_hand", "Sealed deliveries that workers have and did not commit yet")
_AGAIN = Gauge("cdp_intake_in_hand_again", "Of those, how many were given out more than once")
_OLDEST = Gauge("cdp_intake_oldest_seconds", "Age of the oldest sealed delivery in the stream")
_UNDER_WAY = 32 * 1024 * 1024  # bytes
_SECOND = 1_000_000


class StreamIntake:
    """Takes deliveries into a stream."""

    def __init__(self, stream: JetStream, envelopes: Envelopes, sorter: Sorter, clock: Clock) -> None:
        self._stream = stream
        self._envelopes = envelopes
        self._sort = sorter
        self._clock = clock
        self._room = threading.Lock()
        self._bytes = 0
        self._rates = Rates()

    def submit(self, delivery: Delivery) -> Future[Any]:
        """Seal and publish a delivery; the future is done when it is replicated.

        :raises OverloadedError: its source sends too much, or too much is under way.
        """
        self._check_rate(delivery)
        size = sum(map(len, delivery.messages))
        with self._room:
            if self._bytes and self._bytes + size > _UNDER_WAY:
                _REFUSED.labels("overloaded").inc()
                raise OverloadedError("too much is under way to the intake's stream", retry_after=1)
            self._bytes += size

        def done(future: Future[None]) -> None:
            with self._room:
                self._bytes -= size
            if future.cancelled() or future.exception() is not None:
                _REFUSED.labels("unavailable").inc()
            else:
                for lane in lanes:
                    _PUBLISHED.labels(lane).inc()

        lanes: list[str] = []

        def made(most: int) -> Iterator[tuple[str, Carried]]:
            for lane, part in self._sort(delivery):
                for carried in self._sealed(part, most):
                    lanes.append(lane)
                    yield lane, carried

        future = self._stream.publish(made)
        future.add_done_callback(done)
        return future

    async def deliver(self, delivery: Delivery) -> None:
        """Seal and publish a delivery, and wait until it is replicated."""
        await asyncio.wrap_future(self.submit(delivery))

    def _check_rate(self, delivery: Delivery) -> None:
        """Hold a source to its rate; what restrains somebody has a bucket of its own beside it."""
        source, events = delivery.source, len(delivery.messages)
        wait = self._rates.take(source, events)
        if wait and any(lane == URGENT for lane, _ in self._sort(delivery)):
            wait = self._rates.take(source, events, restrains=True)
        if wait:
            _REFUSED.labels("rate").inc()
            raise OverloadedError("this source is over its events_per_second", retry_after=wait)

    def _sealed(self, delivery: Delivery, most: int) -> Iterator[Carried]:
        """Yield a delivery sealed, in as many parts as it takes for each to fit into a message."""
        carried = self._envelopes.seal(delivery)
        if len(carried.sealed) <= most:
            yield carried
            return
        count = len(delivery.messages)
        if count == 1:
            raise TooLargeError("the event is larger than the intake's stream takes")
        yield from self._sealed(delivery.part(range(count // 2)), most)
        yield from self._sealed(delivery.part(range(count // 2, count)), most)

    def check(self) -> None:
        """Let pass while the stream is there with a majority of its replicas.

        :raises UnavailableError: it is not.
        """
        self._stream.check()

    def backlog(self) -> Backlog:
        """Return what lies in the stream.

        :raises UnavailableError: it does not answer.
        """
        return self._stream.backlog()

    def age(self, found: Backlog) -> float:
        """Return for how many seconds the oldest of a backlog has been there."""
        return 0.0 if found.oldest_at is None else max(0, self._clock.now() - found.oldest_at) / _SECOND

    def observe(self) -> None:
        """Say in the metrics what waits."""
        found = self._stream.backlog()
        _WAITING.set(found.messages)
        _IN_HAND.set(found.in_hand)
        _AGAIN.set(found.redelivered)
        _OLDEST.set(self.age(found))

    def over(self, buckets: Sequence[str]) -> list[str]:
        """Return the buckets whose key nothing in the stream needs: where that cannot be told, none of ours.

        A key outlives its 72 hours while something under it waits: what was answered is not thrown away.
        """
        ours = [name for name in buckets if name.startswith(f"{KIND}/")]
        others = [name for name in buckets if name not in ours]
        if not ours:
            return others
        try:
            found = self._stream.backlog()
        except UnavailableError:
            return others
        if not found.messages:
            return [*others, *ours]
        log.warning("deliveries wait in the intake past the life of their keys", messages=found.messages)
        if found.oldest_at is None:
            return others
        first = bucket_of(max(0, found.oldest_at - 3600 * _SECOND))  # clocks of several servers differ
        return [*others, *(name for name in ours if name < first)]

    def adopt(self, bundle: Bundle) -> None:
        """Sort by what these policies take for a word on consent."""
        self._sort.adopt(bundle)

    def close(self) -> None:
        """End the connection."""
        self._stream.close()
