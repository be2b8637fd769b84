"""The room that waiting events have in memory, in events and in bytes, and when there is room again.

A call's body counts from its first byte until the call is answered, its events from when they are admitted
until they are stored. Each has half of the bytes, so that bodies that come slowly keep out nothing that is
here. Invariants:

1. Nothing is admitted to a full room, so what is over a limit is over it by one call at most.
2. A tenth more, the *reserve*, is for what restrains somebody. One source has at most half of the reserve:
   a browser's key is public, and whoever fills its half leaves the other half to all others.
3. While bodies fill their half, only calls of at most ``SMALL_BYTES`` are read to their end, so that large
   or slow ones do not keep out small ones. There are only so many connections.
4. Whoever is refused is told when what waits now will be stored, by the rate at which it was stored of
   late.
"""

from __future__ import annotations

import threading

import msgspec

from cdp.errors import OverloadedError

SMALL_BYTES = 64 * 1024
_EVENT_BYTES = 3 * 1024  # of one event that is ready to be stored, beside its bytes twice: read and cut apart
_MOST_SECONDS = 300  # clients cut a longer wait to this
_MEMORY_SECONDS = 10.0  # over which the rate of storing is averaged
FULL = "too many events are waiting to be written"


class Place(msgspec.Struct, frozen=True):
    """What one delivery takes up.

    :param spare: of the reserve.
    """

    source_id: int
    events: int
    bytes: int
    spare: bool


class Room:
    """Counts what is held in memory.

    :param events: most events that wait.
    :param bytes_: most bytes of bodies that are read and of events that wait, together.
    """

    def __init__(self, events: int, bytes_: int) -> None:
        self.events = 0
        self.bytes = 0
        self.reading = 0
        self.rate: float | None = None
        self._most_events = events
        self._half = bytes_ // 2
        self._spare_events = max(1, events // 10)
        self._spare: dict[int, int] = {}  # source → events in the reserve
        self._lock = threading.Lock()

    def read(self, before: int, more: int) -> None:
        """Count bytes that were read of a body.

        :param before: bytes of it that are counted already.
        :raises OverloadedError: the room is full, and the body not small.
        """
        with self._lock:
            if self.reading + more > self._half and before + more > SMALL_BYTES:
                raise OverloadedError("too many bodies are being read", retry_after=self.wait())
            self.reading += more

    def forget(self, held: int) -> None:
        """Count bytes of a body no more: its call is answered."""
        with self._lock:
            self.reading -= held

    def enter(self, source_id: int, events: int, size: int, *, spare: bool = False) -> Place | None:
        """Admit events, or return None: the room is full, or the reserve.

        :param size: bytes of their JSON.
        :param spare: to the reserve.
        """
        place = Place(source_id, events, 2 * size + _EVENT_BYTES * events, spare)
        with self._lock:
            if not (self._fits_spare(place) if spare else self._fits()):
                return None
            self.events += events
            self.bytes += place.bytes
            if spare:
                self._spare[source_id] = self._spare.get(source_id, 0) + events
        return place

    def leave(self, places: list[Place]) -> None:
        """Count events no more: they are stored, or given back to their sender."""
        with self._lock:
            for place in places:
                self.events -= place.events
                self.bytes -= place.bytes
                if place.spare:
                    left = self._spare[place.source_id] - place.events
                    if left:
                        self._spare[place.source_id] = left
                    else:
                        del self._spare[place.source_id]

    def drained(self, events: int, seconds: float) -> None:
        """Learn from a micro-batch how fast events are stored; one that failed stored none."""
        found = events / max(seconds, 1e-6)
        share = min(1.0, seconds / _MEMORY_SECONDS)
        self.rate = found if self.rate is None else self.rate + (found - self.rate) * share

    def wait(self) -> int:
        """Return in how many whole seconds what waits now will be stored: 1 to 300."""
        if not self.events or self.rate is None:
            return 1
        return max(1, min(_MOST_SECONDS, int(self.events / max(self.rate, 1e-6)) + 1))

    def _fits(self) -> bool:
        return not self.events or (self.events < self._most_events and self.bytes < self._half)

    def _fits_spare(self, place: Place) -> bool:
        """A source alone in the reserve, or with nothing in it, gets any one call in."""
        mine, all_ = self._spare.get(place.source_id, 0), sum(self._spare.values())
        if mine and mine + place.events > self._spare_events // 2:
            return False
        return not all_ or (
            all_ + place.events <= self._spare_events and self.bytes < self._half + self._half // 10
        )
