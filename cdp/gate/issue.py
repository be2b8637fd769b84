"""Issuing recalls: what leaves of them, and taking them out of the record of who holds whom.

1. ``due`` decides (``recall.py``) and makes the references; ``of_everything``, ``of_corrected`` and
   ``of_erased`` are told whom.
2. Whoever sends them on stores the messages in one batch with ``settle``: a recall is issued or it is not.

Invariants: a removal is a profile_ref and a reason, a correction a profile_ref, neither has a field. They
are exempt from policy, minimum audience, contract and switch. Whoever's key is gone cannot be named any
more: such people are counted as ``lost`` and leave the record; erasure names them first (``of_erased``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping

import msgspec
from pyroaring import BitMap

from cdp.errors import ConflictError
from cdp.gate import queries
from cdp.gate.deliveries import Audience
from cdp.gate.deliveries import queries as delivery_queries
from cdp.gate.model import Released, Value
from cdp.gate.recall import Found, Reason, Recaller, everything
from cdp.store import Batch, Connection, Store

Referring = Callable[[str, Iterable[int], tuple[Value, ...]], dict[int, Released]]
"""(destination, anchors, values) → what may leave of each anchor whose key is there."""


class Recall(msgspec.Struct, frozen=True, kw_only=True):
    """What to tell a destination about one of its audiences.

    :param removals: anchor → its reference with the reason; ``corrections`` → its bare reference. Both in
        the order of the references, which says nothing about anybody.
    :param strayed: identities that a correction is about.
    :param lost: people who cannot be named any more.
    """

    audience: Audience
    reason: Reason
    removals: Mapping[int, Released]
    corrections: Mapping[int, Released]
    strayed: BitMap
    lost: BitMap


class Issuer:
    """Makes recalls and settles them."""

    def __init__(self, store: Store, recaller: Recaller, refer: Referring) -> None:
        self._store = store
        self._recaller = recaller
        self._refer = refer

    def due(self) -> Iterator[Iterator[Recall]]:
        """Yield for each audience what the policies and facts of now ask to recall; see ``Recaller.find``."""
        for audience in self._recaller.find():
            yield map(self._recall, audience)

    def of_everything(self, destination: str) -> Iterator[Recall]:
        """Yield the recall of all that a destination holds."""
        with self._store.reading() as connection:
            held = delivery_queries.audiences_at(connection, destination)
        for audience in held:
            if audience.holding.people():
                yield self._recall(everything(audience))

    def of_corrected(self, identity_nos: Iterable[int], fields: frozenset[str]) -> Iterator[Recall]:
        """Yield the corrections of people of whom other values of some fields hold now: fetch them again."""
        people = BitMap(identity_nos)
        with self._store.reading() as connection:
            held = [one for one in delivery_queries.audiences(connection) if one.fields & fields]
        for audience in held:
            if anchors := audience.holding.touched(people):
                found = Found(
                    audience=audience,
                    reason="unlist",
                    removals=BitMap(),
                    corrections=anchors,
                    strayed=BitMap(),
                )
                yield self._recall(found)

    def of_erased(self, batch: Batch, identity_nos: Iterable[int]) -> Iterator[Recall]:
        """Yield the recalls of people whose keys are about to be destroyed.

        The references are made from the keys, so this comes first; no new one is ever made from them.
        """
        gone, connection = BitMap(identity_nos), batch.connection
        for destination in queries.drop_anchors(connection, gone):
            for audience in delivery_queries.audiences_at(connection, destination, lock=True):
                held = audience.holding
                removals = held.people() & gone
                others = held.others_of(held.people() - gone)
                strayed = {number: anchor for number, anchor in others.items() if number in gone}
                if removals or strayed:
                    yield self._recall(
                        Found(
                            audience=audience,
                            reason="erase",
                            removals=removals,
                            corrections=BitMap(strayed.values()),
                            strayed=BitMap(strayed),
                        )
                    )

    def known_as(
        self, connection: Connection, identity_nos: Iterable[int], destinations: Container[str]
    ) -> dict[str, list[Released]]:
        """Return destination → the references under which it ever received these people; for it alone.

        Recalled since or not: who was told to take somebody off a list may hold them still. Nothing is taken
        out of the record.

        :param destinations: of which the answer is to be.
        """
        found = delivery_queries.anchored(connection, BitMap(identity_nos))
        known = {
            name: self._refer(name, anchors, ()) for name, anchors in found.items() if name in destinations
        }
        return {name: list(released.values()) for name, released in known.items() if released}

    def settle(
        self, batch: Batch, recall: Recall, refs: Mapping[int, tuple[bytes, str]] | None = None
    ) -> None:
        """Take what is recalled out of the record, and let the feed tell of it.

        :param refs: of people about to be erased: anchor → (sealed profile_ref, id of the message whose
            key sealed it), by which the feed can name them as long as that message can.
        :raises ConflictError: somebody else recalled some of them meanwhile; nothing is to be sent.
        """
        connection = batch.connection
        held = delivery_queries.lock_numbered(connection, recall.audience.audience_no)
        left = BitMap(recall.removals) | recall.lost
        if not (left <= held.holding.people() and recall.strayed <= held.holding.identities()):
            raise ConflictError("another process recalled some of these people meanwhile; look again")
        seq, number = held.next_seq, held.audience_no
        removed = dict.fromkeys(recall.removals, str(recall.reason))
        delivery_queries.move_fed(connection, number, seq, list(removed), removed, refs)
        delivery_queries.drop_fed(connection, number, recall.lost)
        seq += len(removed)
        delivery_queries.move_fed(connection, number, seq, list(recall.corrections))
        delivery_queries.save_audience(
            connection,
            msgspec.structs.replace(
                held,
                holding=held.holding.without(left).forgetting(recall.strayed),
                next_seq=seq + len(recall.corrections),
            ),
        )

    @staticmethod
    def forget(batch: Batch, message_ids: Collection[str]) -> None:
        """Let the feed forget erased people whose message is done with."""
        delivery_queries.forget_refs(batch.connection, message_ids)

    def _recall(self, found: Found) -> Recall:
        destination = found.audience.destination
        removals = self._refer(destination, found.removals, (found.reason,))
        return Recall(
            audience=found.audience,
            reason=found.reason,
            removals=removals,
            corrections=self._refer(destination, found.corrections, ()),
            strayed=found.strayed,
            lost=found.removals - BitMap(removals),
        )
