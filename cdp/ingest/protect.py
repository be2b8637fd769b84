"""protect: classified events and traits → rows in which everything personal is sealed.

After this step no clear personal value is left in what goes to the database: sealed columns are
envelopes under the ``person`` DEK of the event's identity, bound to their row. Where that key is lost
nothing is sealed under another one: the batch ends, and its caller is told which events these are.

A trait that is an identifier of the event (its e-mail address) is observed of that identifier's identity,
and so is what the event says to validate it: it belongs to whoever that identifier belongs to. An address
that the rules keep apart from a profile, or that is split off, is no trait of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cdp.crypto import Dek, Keyring, Place, seal
from cdp.errors import KeyAccessError
from cdp.ingest.model import Classified, Trait

Owned = tuple[Classified, Sequence[int]]
"""A classified event with the identity of each of its identifiers; it attaches to the first."""


class UnsealableError(KeyAccessError):
    """The keys of these events' people are lost; run the batch again without them.

    :param event_ids: of all such events in the batch.
    """

    def __init__(self, event_ids: frozenset[bytes]) -> None:
        super().__init__(f"{len(event_ids)} events cannot be sealed: the keys of their people are lost")
        self.event_ids = event_ids


class Protector:
    """Makes event rows and trait rows."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._event_prefix = Place(keyring.workspace, "events", "sealed").prefix()

    def __call__(self, events: Sequence[Owned], batch: int) -> tuple[list[Any], list[Any]]:
        """Return (event rows, trait rows) in the column orders of the queries that insert them.

        :raises UnsealableError: somebody's key is lost or does not open.
        """
        owners = {numbers[0] for item, numbers in events if item.sealed is not None or item.traits}
        owners.update(
            _owner(item, trait, numbers) for item, numbers in events for trait in item.traits if trait.of
        )
        keys = self._keyring.openable(owners)
        if len(keys) < len(owners):
            lost = owners.difference(keys)
            ids = (item.event.event_id for item, numbers in events if not lost.isdisjoint(numbers))
            raise UnsealableError(frozenset(ids))
        event_rows: list[Any] = []
        trait_rows: list[Any] = []
        for seq, (item, numbers) in enumerate(events):
            event, number = item.event, numbers[0]
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
                self._traits(item, numbers, keys, batch, trait_rows)
        return event_rows, trait_rows

    def _traits(
        self,
        item: Classified,
        numbers: Sequence[int],
        keys: Mapping[int, Dek],
        batch: int,
        rows: list[Any],
    ) -> None:
        event = item.event
        workspace = self._keyring.workspace
        for trait in item.traits:
            number = _owner(item, trait, numbers) if trait.of else numbers[0]
            clear = sealed = None
            if trait.clear:
                clear = trait.value.decode()
            else:
                place = Place(workspace, "trait_observations", trait.name)
                sealed = seal(keys[number], place.prefix(), event.event_id, number, trait.value)
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


def _owner(item: Classified, trait: Trait, numbers: Sequence[int]) -> int:
    """Return the identity that a trait is observed of: that of the one identifier that it tells."""
    places = [place for place, (kind, _) in enumerate(item.event.identifiers) if kind == trait.of]
    return numbers[places[0] if len(places) == 1 else 0]
