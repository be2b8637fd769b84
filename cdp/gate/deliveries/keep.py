"""Keeping the record of who holds whom, inside the transactions that change it.

1. A fetch **begins**: everybody of whom a row may leave is held, before the first byte.
2. It **ends**: whoever it added and then skipped is no longer held, unless another fetch of the same audience
   overlapped and may have delivered them. Whoever it delivered is held again, also when a recall came
   between: the rows may arrive after that recall, so there will be another.
3. One that never ends (the process died) is **settled** an hour later: all of M∖D counts as delivered.
   Fetches from before this record existed are settled likewise.

After a restore each feed begins **anew**: its readers' cursors are further than the backup, and would hide
every change that gets one of those numbers again.

Locks: ``destination_anchors``, then ``deliveries`` by ascending number, then the log head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
import structlog
from pyroaring import BitMap

from cdp.clock import SECOND, Clock, Micros, random_id
from cdp.gate import queries as gate_queries
from cdp.gate.deliveries import queries
from cdp.identity import profiles_of
from cdp.store import Batch, Committer, Connection, Store, erased, retrying

log = structlog.get_logger()
_ABANDONED = 3600 * SECOND


class Deliveries:
    """The record of who holds whom."""

    def __init__(self, store: Store, committer: Committer, clock: Clock) -> None:
        self._store = store
        self._committer = committer
        self._clock = clock

    @staticmethod
    def begin(
        batch: Batch,
        stored: gate_queries.Stored,
        delivered: Mapping[int, Sequence[int]],
    ) -> BitMap:
        """Record that these people may leave; returns the anchors that were not held before.

        :param stored: the export whose rows they are.
        :param delivered: anchor → the identities of the person.
        """
        given = stored.authorisation
        held = queries.lock_audience(batch.connection, given.destination, given.purpose, given.segment)
        before = held.holding.people()
        queries.save_audience(
            batch.connection,
            msgspec.structs.replace(
                held,
                holding=held.holding.adding(delivered),
                inputs=held.inputs | stored.inputs,
                reads=held.reads | stored.reads,
                fields=held.fields.union(given.fields),
            ),
        )
        return BitMap(delivered) - before

    @staticmethod
    def end(
        batch: Batch,
        key: tuple[str, str, str],
        fetch: tuple[int, Micros],
        fresh: BitMap,
        delivered: Mapping[int, Sequence[int]],
    ) -> None:
        """Record whom a fetch did deliver.

        :param fetch: its number and when it began.
        :param fresh: what ``begin`` returned.
        """
        held = queries.lock_audience(batch.connection, *key)
        holding = held.holding
        skipped = fresh - BitMap(delivered)
        if skipped and not queries.overlapped(batch.connection, *fetch, held):
            holding = holding.without(skipped)
        recalled = BitMap(delivered) - holding.people()
        recalled -= erased(batch.connection, recalled)  # their recall said all that can be said of them
        if recalled:
            holding = holding.adding({anchor: delivered[anchor] for anchor in recalled})
        if holding is not held.holding:
            queries.save_audience(batch.connection, msgspec.structs.replace(held, holding=holding))
        queries.settle(batch.connection, fetch[0])

    @staticmethod
    def held(connection: Connection, identities: BitMap) -> list[tuple[queries.Audience, BitMap]]:
        """Return the audiences that hold any of these identities, and the anchors they are held under."""
        found = [(one, one.holding.touched(identities)) for one in list(queries.audiences(connection))]
        return [(audience, anchors) for audience, anchors in found if anchors]

    def begin_anew(self) -> None:
        """Make every feed another one, of which no cursor handed out so far is; safe to repeat."""
        with self._committer.batch() as batch:
            for audience_no in queries.revisions(batch.connection):
                queries.renumber(batch.connection, audience_no, random_id())

    def settle_abandoned(self) -> None:
        """Count what fetches without an end may have delivered; one that cannot be read stops no other."""
        with self._store.reading() as connection:
            waiting = queries.unsettled(connection, self._clock.now() - _ABANDONED)
        for fetch_no, export_id, skipped in waiting:
            try:
                retrying(partial(self._settle, fetch_no, export_id, skipped))
            except Exception as error:  # noqa: BLE001  # one fetch's failure is not another's
                log.warning("a fetch cannot be settled", export=export_id, error=type(error).__name__)

    def _settle(self, fetch_no: int, export_id: str, skipped: BitMap) -> None:
        with self._committer.batch() as batch:
            connection = batch.connection
            stored = gate_queries.load_export(connection, export_id)
            if stored is not None:
                given = stored.authorisation
                left = BitMap.union(BitMap(), *(BitMap.deserialize(one.identities) for one in stored.classes))
                left -= BitMap.deserialize(stored.changed) | skipped
                known = gate_queries.anchors(connection, given.destination)
                self.begin(batch, stored, _grouped(connection, left, known))
            queries.settle(connection, fetch_no)


def _grouped(connection: Connection, identities: BitMap, known: BitMap) -> dict[int, list[int]]:
    """Return anchor → identities, grouped as the profiles are now: how they were is not kept."""
    profiles = profiles_of(connection, identities)
    anchor_of: dict[int, int] = {}
    for number in identities & known:
        anchor_of.setdefault(profiles.get(number, number), number)
    grouped: dict[int, list[int]] = {number: [] for number in identities & known}
    for number in identities:
        anchor = anchor_of.get(profiles.get(number, number))
        if anchor is not None:
            grouped[anchor].append(number)
    return grouped
