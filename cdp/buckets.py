"""Token buckets in memory: how often something may happen.

A bucket holds at most ``capacity`` tokens and is refilled at ``per_second``; ``take`` spends some. More than
a bucket can hold is let pass when it is full, and what it then lacks is owed. The number of buckets is
bounded: the one used longest ago is forgotten, which only ever makes the limiter more lenient.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable


class Bucket:
    """One bucket; whoever shares it among threads guards it.

    :param capacity: tokens of a full bucket.
    :param per_second: tokens that return in a second.
    :param now: seconds on a monotonic clock.
    """

    __slots__ = ("_at", "_now", "_tokens", "capacity", "per_second")

    def __init__(self, capacity: float, per_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self.capacity = capacity
        self.per_second = per_second
        self._now = now
        self._tokens = capacity
        self._at = now()

    def take(self, tokens: float = 1) -> bool:
        """Spend tokens; False when there are not enough."""
        held = self._filled()
        enough = held >= min(tokens, self.capacity)
        if enough:
            self._tokens = held - tokens
        return enough

    def wait(self, tokens: float = 1) -> int:
        """Return in how many whole seconds ``take`` spends these; 0 when it does now."""
        lacking = min(tokens, self.capacity) - self._filled()
        return 0 if lacking <= 0 else int(lacking / self.per_second) + 1

    def _filled(self) -> float:
        now = self._now()
        self._tokens = min(self.capacity, self._tokens + (now - self._at) * self.per_second)
        self._at = now
        return self._tokens


class Buckets:
    """Token buckets by key, all of one size.

    :param keys: most buckets held in memory.
    """

    def __init__(
        self,
        capacity: float,
        per_second: float,
        *,
        keys: int = 10_000,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity = capacity
        self._per_second = per_second
        self._keys = keys
        self._now = now
        self._lock = threading.Lock()
        self._held: OrderedDict[Hashable, Bucket] = OrderedDict()

    def take(self, key: Hashable) -> bool:
        """Spend one token of ``key``; False when none is left."""
        with self._lock:
            bucket = self._held.get(key)
            if bucket is None:
                bucket = self._held[key] = Bucket(self._capacity, self._per_second, self._now)
            self._held.move_to_end(key)
            while len(self._held) > self._keys:
                self._held.popitem(last=False)
            return bucket.take()

    def wait(self, key: Hashable) -> int:
        """Return in how many whole seconds ``key`` has a token again; 0 when it has one now."""
        with self._lock:
            bucket = self._held.get(key)
            return 0 if bucket is None else bucket.wait()
