"""Token buckets in memory: how often something may happen.

A bucket holds at most ``capacity`` tokens and is refilled at ``per_second``; ``take`` spends one.
The number of buckets is bounded: the one used longest ago is forgotten, which only ever makes the
limiter more lenient.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from cdp.errors import OverloadedError


class Buckets:
    """Token buckets by key.

    :param capacity: tokens of a full bucket.
    :param per_second: tokens that return in a second.
    :param keys: most buckets held in memory.
    :param now: seconds on a monotonic clock.
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
        self._held: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable) -> bool:
        """Spend one token of ``key``; False when none is left."""
        with self._lock:
            tokens = self._tokens(key)
            enough = tokens >= 1
            self._held[key] = (tokens - 1 if enough else tokens, self._now())
            self._held.move_to_end(key)
            while len(self._held) > self._keys:
                self._held.popitem(last=False)
        return enough

    def wait(self, key: Hashable) -> int:
        """Return in how many whole seconds ``key`` has a token again; 0 when it has one now."""
        with self._lock:
            lacking = 1 - self._tokens(key)
        return 0 if lacking <= 0 else int(lacking / self._per_second) + 1

    def _tokens(self, key: Hashable) -> float:
        tokens, at = self._held.get(key, (self._capacity, self._now()))
        return min(self._capacity, tokens + (self._now() - at) * self._per_second)


class Asking:
    """How often requests of people are opened: by a key, and from an address.

    Enough for a whole day's post that is typed in at once, and too little to bury an officer in a minute.
    """

    def __init__(self) -> None:
        self._by_key = Buckets(300, 5)
        self._by_address = Buckets(600, 10)

    def take(self, actor: str, address: str) -> None:
        """Let one more pass.

        :raises OverloadedError: too many were opened of late.
        """
        for buckets, key in ((self._by_key, actor), (self._by_address, address)):
            if not buckets.take(key):
                raise OverloadedError("too many requests were opened", retry_after=buckets.wait(key))
