"""Opening sealed values, many at a time.

Keys are looked up once for each set of rows. What was sealed under a key that is gone is absent: it belongs
to somebody who was erased.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cdp.crypto import Keyring, Place, open_sealed


class Opener:
    """Opens trait observations and identifier values, in memory, inside the gate."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def traits(self, rows: Iterable[tuple[int, str, bytes, bytes]]) -> dict[tuple[int, str, bytes], object]:
        """Return the values of (identity_no, trait, envelope, event id) rows by all but the envelope."""
        held = list(rows)
        keys = self._keyring.deks({row[0] for row in held})
        return {
            (number, name, event_id): msgspec.json.decode(
                open_sealed(keys[number], self.prefix("trait_observations", name), event_id, number, sealed)
            )
            if number in keys
            else None
            for number, name, sealed, event_id in held
        }

    def prefix(self, table: str, column: str) -> bytes:
        """Return the front part of the additional data of a column."""
        return Place(self._keyring.workspace, table, column).prefix()
