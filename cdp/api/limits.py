"""How often requests of people are opened."""

from __future__ import annotations

from cdp.buckets import Buckets
from cdp.errors import OverloadedError


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
