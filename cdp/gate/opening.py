"""Opening sealed values, many at a time.

Keys are looked up once for each set of rows. What was sealed under a destroyed key is absent: it belongs to
somebody who was erased. A key that was lost or altered, and an altered envelope, destroy nothing: what they
held is ``UNREADABLE``, and whoever decides takes the worst of it, for that person alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import msgspec

from cdp.crypto import Keyring, Place, open_sealed
from cdp.errors import SealError

UNREADABLE: Final = object()
"""What stands for a value that is there and cannot be opened."""


class Opener:
    """Opens trait observations and identifier values, in memory, inside the gate."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def traits(self, rows: Iterable[tuple[int, str, bytes, bytes]]) -> dict[tuple[int, str, bytes], object]:
        """Return the values of (identity_no, trait, envelope, event id) rows by all but the envelope."""
        held = list(rows)
        numbers = {row[0] for row in held}
        keys = self._keyring.openable(numbers)
        missing = numbers - keys.keys()
        erased = self._keyring.destroyed(missing) if missing else missing
        found: dict[tuple[int, str, bytes], object] = {}
        for number, name, sealed, event_id in held:
            value = None if number in erased else UNREADABLE
            if (key := keys.get(number)) is not None:
                with suppress(SealError):
                    prefix = self.prefix("trait_observations", name)
                    value = msgspec.json.decode(open_sealed(key, prefix, event_id, number, sealed))
            found[number, name, event_id] = value
        return found

    def prefix(self, table: str, column: str) -> bytes:
        """Return the front part of the additional data of a column."""
        return Place(self._keyring.workspace, table, column).prefix()
