"""Opening sealed values, many at a time.

Keys are looked up once for each set of rows. What was sealed under a destroyed key is absent: it belongs to
somebody who was erased. A key that was lost or altered, and an altered envelope, destroy nothing: what they
held is ``UNREADABLE``, and whoever decides takes the worst of it, for that person alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

import msgspec

from cdp.crypto import Dek, Keyring, Place, open_sealed
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
        keys, erased = self._keys({row[0] for row in held})
        found: dict[tuple[int, str, bytes], object] = {}
        for number, name, sealed, event_id in held:
            value = None if number in erased else UNREADABLE
            if (key := keys.get(number)) is not None:
                with suppress(SealError):
                    prefix = self.prefix("trait_observations", name)
                    value = msgspec.json.decode(open_sealed(key, prefix, event_id, number, sealed))
            found[number, name, event_id] = value
        return found

    def identifiers(self, rows: Iterable[tuple[int, str, bytes]]) -> dict[int, object]:
        """Return identity_no → value of (identity_no, type, envelope) rows."""
        held = list(rows)
        keys, erased = self._keys({row[0] for row in held})
        found: dict[int, object] = {}
        for number, kind, sealed in held:
            value = None if number in erased else UNREADABLE
            if (key := keys.get(number)) is not None:
                with suppress(SealError):
                    prefix = self.prefix("identities", kind)
                    value = open_sealed(key, prefix, number.to_bytes(8), number, sealed).decode()
            found[number] = value
        return found

    def _keys(self, numbers: set[int]) -> tuple[Mapping[int, Dek], set[int]]:
        """Return the keys of identities, and those of which they are destroyed."""
        keys = self._keyring.openable(numbers)
        missing = numbers - keys.keys()
        return keys, self._keyring.destroyed(missing) if missing else missing

    def prefix(self, table: str, column: str) -> bytes:
        """Return the front part of the additional data of a column."""
        return Place(self._keyring.workspace, table, column).prefix()
