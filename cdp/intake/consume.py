"""What workers do: deliveries out of the stream into the writer, and acknowledged after its commit.

A delivery that comes again, because its worker or the word of its commit was lost, counts once: its events by
their message ids, or by the nonces that travel with them. One that does not open blocks nobody: it is set
aside in quarantine, as it is, with its cause.
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

import msgspec
import structlog
from prometheus_client import Counter

from cdp.access import Source
from cdp.clock import Clock
from cdp.errors import OverloadedError, SealError
from cdp.ingest import Delivery, Prepared, Reject
from cdp.intake.envelope import Envelopes
from cdp.intake.model import Carried
from cdp.pipeline import Pipeline
from cdp.worker import Writer

if TYPE_CHECKING:
    from cdp.intake.jetstream import JetStream  # loads an extra

log = structlog.get_logger()
_SET_ASIDE = Counter("cdp_intake_set_aside", "Sealed deliveries that did not open, set aside in quarantine")
_ROOM_SECONDS = 0.05
SOURCE = Source(source_id=0, name="intake", kind="server", enabled=False)
"""Whose a sealed delivery is that does not say whose it is."""


class Consumer:
    """Feeds a writer from a stream."""

    def __init__(
        self, stream: JetStream, envelopes: Envelopes, writer: Writer, pipeline: Pipeline, clock: Clock
    ) -> None:
        self._stream = stream
        self._envelopes = envelopes
        self._writer = writer
        self._pipeline = pipeline
        self._clock = clock
        self._ending = threading.Event()

    def start(self) -> None:
        """Begin."""
        self._stream.consume(self._take)

    def stop(self) -> None:
        """Fetch no more; commit and acknowledge what was fetched."""
        self._ending.set()
        self._stream.stop()

    def _take(self, carried: Carried) -> Future[object]:
        try:
            delivery = self._envelopes.open(carried)
        except SealError as error:
            return self._set_aside(carried, error.message)
        replace = msgspec.structs.replace  # its source was held to its rate when it was taken
        limits = replace(delivery.source.limits, events_per_second=None)
        delivery = replace(delivery, source=replace(delivery.source, limits=limits))
        while True:
            try:
                return self._writer.submit(delivery)  # type: ignore[return-value]  # nobody sets it but the writer
            except OverloadedError:  # there will be room
                if self._ending.wait(_ROOM_SECONDS):
                    raise

    def _set_aside(self, carried: Carried, cause: str) -> Future[object]:
        log.warning("a sealed delivery does not open and is set aside", cause=cause)
        nonce = int.from_bytes(hashlib.blake2b(carried.sealed, digest_size=7).digest())
        delivery = Delivery(
            source=SOURCE, messages=(carried.sealed,), received_at=self._clock.now(), nonce=nonce
        )
        reject = Reject(delivery.each()[0], "unexpected", f"a sealed delivery does not open: {cause}")
        self._pipeline.store(Prepared([], []).part([], [reject], []))
        _SET_ASIDE.inc()
        done: Future[object] = Future()
        done.set_result(None)
        return done
