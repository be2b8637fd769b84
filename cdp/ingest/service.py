"""De-duplication: an event counts once.

The key is (day of the client's raw timestamp, event id). A day's keys are
forgotten 30 days after the day's last insert, so the cost of a look-up does not grow with history and
a late import is protected as long as a live event. "Once" holds within that window.
"""

from __future__ import annotations

from collections.abc import Sequence

from cdp.clock import DAY, Clock
from cdp.ingest import queries
from cdp.ingest.model import Indexed
from cdp.store import Batch

KEEP_DAYS = 30


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

    def forget(self, batch: Batch) -> int:
        """Drop the keys whose window has passed; returns the number of days dropped."""
        return queries.drop_key_days(batch.connection, self._clock.now() // DAY - KEEP_DAYS)
