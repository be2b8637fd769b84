"""How many events a second each source sends to this process.

Two buckets a source: one for all that it sends; one as large for calls that restrain somebody and found the
first one empty, so that a source over its rate may still say no, and not without end. A call of more events
than a bucket holds passes when that is full.
"""

from __future__ import annotations

import threading

import msgspec

from cdp.access import Limits, Source
from cdp.buckets import Bucket


class _Held(msgspec.Struct, frozen=True):
    """The buckets of one source, as long as its limits stay."""

    limits: Limits
    all: Bucket
    restraining: Bucket


class Rates:
    """The buckets of the sources that have a limit; there are as many as an admin makes."""

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}
        self._lock = threading.Lock()

    def take(self, source: Source, events: int, *, restrains: bool = False) -> int:
        """Let events of a source pass and return 0, or return in how many seconds it may send them.

        :param restrains: by its other bucket.
        """
        limits = source.limits
        if limits.events_per_second is None:
            return 0
        with self._lock:
            held = self._held.get(source.source_id)
            if held is None or held.limits != limits:
                size = limits.burst or limits.events_per_second, limits.events_per_second
                held = self._held[source.source_id] = _Held(limits, Bucket(*size), Bucket(*size))
            bucket = held.restraining if restrains else held.all
            return 0 if bucket.take(events) else bucket.wait(events)
