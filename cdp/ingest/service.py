"""De-duplication: an event counts once.

The key is (day of the client's raw timestamp, event id). A day's keys are
forgotten 30 days after the day's last insert, so the cost of a look-up does not grow with history and
a late import is protected as long as a live event. "Once" holds within that window.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import compress

from cdp.clock import DAY, Clock
from cdp.ingest import queries
from cdp.ingest.model import Indexed, Reject
from cdp.store import Batch

KEEP_DAYS = 30
_REJECT = b"\x00reject\x00"


class EventKeys:
    """Decides which events of a batch are new."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def fresh(self, batch: Batch, events: Sequence[Indexed]) -> list[Indexed]:
        """Return the events not seen before, in their order; claims their keys in this batch."""
        first: dict[tuple[int, bytes], Indexed] = {}
        for item in events:
            event = item.classified.event
            first.setdefault((event.day, event.event_id), item)
        claimed = queries.claim_keys(batch.connection, sorted(first), batch.id, self._clock.now() // DAY)
        return [item for (_, event_id), item in first.items() if event_id in claimed]

    def fresh_rejects(self, batch: Batch, rejects: Sequence[Reject]) -> tuple[list[Reject], list[Reject]]:
        """Return the rejects not seen before, in their order, and the others; claims keys in this batch.

        A reject may have no message id that can be read, so it is known by its nonce: what a stream delivers
        again counts once, and what a sender sends again counts again. One that is replayed is its own.
        """
        first: dict[tuple[int, bytes], Reject] = {}
        for one in rejects:
            message = one.message
            day, key = message.delivery.received_at // DAY, _REJECT + message.nonce.to_bytes(8)
            if message.delivery.replayed_at is None:
                first.setdefault((day, key), one)
        claimed = queries.claim_keys(batch.connection, sorted(first), batch.id, self._clock.now() // DAY)
        new = {id(one) for (_, key), one in first.items() if key in claimed}
        is_new = [id(one) in new or one.message.delivery.replayed_at is not None for one in rejects]
        again = map(operator.not_, is_new)
        return list(compress(rejects, is_new)), list(compress(rejects, again))

    def forget(self, batch: Batch) -> int:
        """Drop the keys whose window has passed; returns the number of days dropped."""
        return queries.drop_key_days(batch.connection, self._clock.now() // DAY - KEEP_DAYS)
