"""protect: classified events and traits → rows in which everything personal is sealed.

After this step no clear personal value is left in what goes to the database: sealed columns are
envelopes under the ``person`` DEK of the event's identity, bound to their row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cdp.crypto import Dek, Keyring, Place, seal
from cdp.ingest.model import Classified

Owned = tuple[Classified, int]
"""A classified event with the identity that it attaches to."""


class Protector:
    """Makes event rows and trait rows."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._event_prefix = Place(keyring.workspace, "events", "sealed").prefix()
        self._trait_prefixes: dict[str, bytes] = {}

    def __call__(self, events: Sequence[Owned], batch: int) -> tuple[list[Any], list[Any]]:
        """Return (event rows, trait rows) in the column orders of the queries that insert them."""
        owners = {number for item, number in events if item.sealed is not None or item.traits}
        keys = self._keyring.deks(owners)
        event_rows: list[Any] = []
        trait_rows: list[Any] = []
        for seq, (item, number) in enumerate(events):
            event = item.event
            sealed = None
            if item.sealed is not None:
                sealed = seal(keys[number], self._event_prefix, event.event_id, number, item.sealed)
            event_rows.append(
                (
                    batch,
                    seq,
                    number,
                    event.event_id,
                    event.source.source_id,
                    event.type,
                    event.name,
                    event.occurred_at,
                    event.received_at,
                    event.stamped_at,
                    None if item.clear is None else item.clear.decode(),
                    sealed,
                )
            )
            if item.traits:
                self._traits(item, number, keys, batch, trait_rows)
        return event_rows, trait_rows

    def _traits(
        self, item: Classified, number: int, keys: Mapping[int, Dek], batch: int, rows: list[Any]
    ) -> None:
        event = item.event
        for trait in item.traits:
            clear = sealed = None
            if trait.clear:
                clear = trait.value.decode()
            else:
                sealed = seal(keys[number], self._prefix(trait.name), event.event_id, number, trait.value)
            rows.append(
                (
                    batch,
                    len(rows),
                    number,
                    trait.name,
                    clear,
                    sealed,
                    event.source.source_id,
                    event.occurred_at,
                    event.event_id,
                )
            )

    def _prefix(self, name: str) -> bytes:
        prefix = self._trait_prefixes.get(name)
        if prefix is None:
            if len(self._trait_prefixes) > 10_000:  # trait names come from outside
                self._trait_prefixes.clear()
            place = Place(self._keyring.workspace, "trait_observations", name)
            prefix = self._trait_prefixes[name] = place.prefix()
        return prefix
