"""Opening sealed values, many at a time.

Keys are looked up once for each set of rows; additional-data prefixes are made once for each column.
What was sealed under a key that is gone is absent: it belongs to somebody who was erased.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from cdp.crypto import Keyring, Place, open_sealed
from cdp.profiles import Observation


class Opener:
    """Opens trait observations and identifier values, in memory, inside the gate."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._prefixes: dict[tuple[str, str], bytes] = {}

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

    def observations(self, held: Mapping[int, Mapping[str, Observation]]) -> Iterator[tuple[int, object]]:
        """Yield (profile_no, value) of every observation."""
        opened = self.traits(
            (one.identity_no, one.name, one.sealed, one.event_id)
            for traits in held.values()
            for one in traits.values()
            if one.sealed is not None
        )
        for profile_no, traits in held.items():
            for one in traits.values():
                if one.sealed is not None:
                    yield profile_no, opened[one.identity_no, one.name, one.event_id]
                elif one.value is not None:
                    yield profile_no, msgspec.json.decode(one.value)

    def prefix(self, table: str, column: str) -> bytes:
        """Return the front part of the additional data of a column."""
        prefix = self._prefixes.get((table, column))
        if prefix is None:
            prefix = Place(self._keyring.workspace, table, column).prefix()
            self._prefixes[table, column] = prefix
        return prefix
