"""The feed of an audience: who came, may have changed, and went, in one order of numbers.

A feed has one row a person, at the number of its last change. Reading it from a number on gives every change
since, in order, however often it is read: what a reader has not confirmed by its cursor is there again.

``refresh`` brings a feed up to date, in a decision like any export (``authorise``), when anything happened:

1. Evaluate the segment. Nothing to do while its members, the policies and everybody's facts are those of the
   last decision, none of whose grants has aged, and no age band may have turned (once a day).
2. Have an export authorised: permitted now, minimum audience, audit entry. Refused, nobody is added.
3. Number, sorted by reference: who came; who went and was not just relinked (that waits for the next
   evaluation, or a recall); of those who stay, whoever anything was recorded of.

Invariants: a row is rendered when it is read, never before; a removal needs no decision and no field, and is
never taken back but by a new *add*; numbers are given under the lock of the audience, so none is ever late.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from pyroaring import BitMap

from cdp.clock import DAY, Clock
from cdp.gate import queries
from cdp.gate.deliveries import Audience, Change
from cdp.gate.deliveries import queries as delivery_queries
from cdp.gate.issue import Referring
from cdp.gate.judge import Judge
from cdp.gate.model import Authorisation, Request
from cdp.gate.queries import Stored
from cdp.identity import members_of, profiles_of
from cdp.segments import Members, SegmentService
from cdp.store import Batch, Committer, Connection, Store, retrying

_LEFT = "unlist"
_UNSETTLED = frozenset({"identity_changed", "changed_meanwhile"})  # withheld until the next evaluation


class Feeder:
    """Keeps feeds.

    :param authorise: decides an export; ``refer`` makes references, by which changes are sorted.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        segments: SegmentService,
        judge: Judge,
        authorise: Callable[[Request], Authorisation],
        refer: Referring,
        clock: Clock,
    ) -> None:
        self._store = store
        self._committer = committer
        self._segments = segments
        self._judge = judge
        self._authorise = authorise
        self._refer = refer
        self._clock = clock

    def find(self, destination: str, purpose: str, segment: str) -> Audience | None:
        """Return an audience; None when nothing ever went there."""
        with self._store.reading() as connection:
            return delivery_queries.find_audience(connection, destination, purpose, segment)

    def refresh(self, request: Request) -> None:
        """Bring a feed up to date.

        :raises InvalidInputError: no purpose is stated, or the definition no longer holds.
        :raises NotPermittedError: the key, the destination or the policies stand against the whole of it, or
            fewer people than the destination's minimum remain.
        :raises NotFoundError: there is no such destination or segment.
        """
        members = self._segments.evaluate(request.segment, actor=request.principal.actor)  # 1
        audience = self.find(request.destination, request.purpose, request.segment)
        if audience is not None and self._is_current(audience, members):
            return
        self._decide(msgspec.structs.replace(request, fields=self._fields(audience)), members)

    def decide(self, request: Request) -> Authorisation:
        """Have an export of mode ``delta`` decided: from now on the feed carries its fields.

        Raises what ``refresh`` does.
        """
        return self._decide(request, self._segments.evaluate(request.segment, actor=request.principal.actor))

    def _decide(self, request: Request, members: Members) -> Authorisation:
        given = self._authorise(msgspec.structs.replace(request, mode="delta"))  # 2
        retrying(partial(self._advance, given, members))  # 3
        return given

    def _fields(self, audience: Audience | None) -> tuple[str, ...] | None:
        """Return the fields that a feed carries, of which some may not be declared any more."""
        if audience is None or audience.fed_export is None:
            return None
        with self._store.reading() as connection:
            last = queries.find_export(connection, audience.fed_export)
            declared = self._judge.policy(connection).fields
        return None if last is None else tuple(n for n in last.fields if declared.output(n) is not None)

    def page(self, audience: Audience, after: int, limit: int, *, only_removed: bool) -> list[Change]:
        """Return up to ``limit`` changes after a number, in order."""
        with self._store.reading() as connection:
            return delivery_queries.feed_page(
                connection, audience.audience_no, after, limit, only_removed=only_removed
            )

    def removed(self, audience: Audience, anchors: Sequence[int]) -> dict[int, str]:
        """Return anchor → profile_ref of people removed, whose keys are there."""
        made = self._refer(audience.destination, anchors, ())
        return {anchor: released.profile_ref for anchor, released in made.items()}

    @staticmethod
    def delivered(batch: Batch, audience: Audience, rows: Sequence[tuple[int, bytes | None, int]]) -> None:
        """Store (anchor, digest of the row, number at which it became that) of rows delivered, or None."""
        delivery_queries.set_digests(batch.connection, audience.audience_no, rows)

    # -- inside ---------------------------------------------------------------------------------

    def _is_current(self, audience: Audience, members: Members) -> bool:
        if audience.fed_export is None or audience.fed_members != _digest(members):
            return False
        now = self._clock.now()
        with self._store.reading() as connection:
            given = queries.find_export(connection, audience.fed_export)
            if given is None or given.bundle != self._judge.policy(connection).sha256:
                return False
            if given.created_at // DAY != now // DAY:
                return False
            if given.valid_until is not None and given.valid_until <= now:
                return False
            touched = self._touched(connection, given)
            people = queries.profile_mates(connection, members.bitmap) if touched else BitMap()
        return not touched & (people | audience.holding.identities())

    def _touched(self, connection: Connection, given: Authorisation) -> BitMap:
        """Return every identity of a person of whom anything was recorded since a decision."""
        bundle = self._judge.policy(connection)
        spoken, profiles = self._judge.facts.heard_since(
            connection, given.ledger_position, bundle, given.fields
        )
        members = members_of(connection, profiles)
        return spoken | BitMap(number for numbers in members.values() for number in numbers)

    def _advance(self, given: Authorisation, members: Members) -> None:
        with self._committer.batch() as batch:
            connection = batch.connection
            stored = queries.load_export(connection, given.export_id)
            known = queries.anchors(connection, given.destination)
            audience = delivery_queries.lock_audience(
                connection, given.destination, given.purpose, given.segment
            )
            if stored is None or self._is_behind(connection, audience, given):
                return
            anchors = _anchors(connection, stored, known)
            queries.set_anchors(connection, given.destination, known | BitMap(anchors.values()))
            here = BitMap(anchors.values())
            fed = delivery_queries.fed(connection, audience.audience_no)
            relinked = queries.relinked_since(connection, given.segment_as_of)
            came, went = here - fed, fed - here - relinked
            changed = here & fed
            if not self._all_may_differ(connection, audience, given):
                changed &= BitMap(self._changed(connection, audience, given, anchors))
            seq, number = audience.next_seq, audience.audience_no
            added = self._in_order(audience, came)
            delivery_queries.add_fed(connection, number, seq, added)
            seq += len(added)
            left = self._in_order(audience, went)
            delivery_queries.move_fed(connection, number, seq, left, dict.fromkeys(left, _LEFT))
            seq += len(left)
            moved = self._in_order(audience, changed)
            delivery_queries.move_fed(connection, number, seq, moved)
            delivery_queries.save_audience(
                connection,
                msgspec.structs.replace(
                    audience,
                    next_seq=seq + len(moved),
                    fed_export=given.export_id,
                    fed_members=_digest(members) if _UNSETTLED.isdisjoint(given.counts.withheld) else None,
                ),
            )

    def _in_order(self, audience: Audience, anchors: BitMap) -> list[int]:
        """Return anchors sorted by reference, which says nothing about when or who; the keyless left out."""
        return list(self._refer(audience.destination, anchors, ()))

    @staticmethod
    def _is_behind(connection: Connection, audience: Audience, given: Authorisation) -> bool:
        """Return whether a later decision came in between."""
        last = None if audience.fed_export is None else queries.find_export(connection, audience.fed_export)
        return last is not None and last.ledger_position >= given.ledger_position

    @staticmethod
    def _all_may_differ(connection: Connection, audience: Audience, given: Authorisation) -> bool:
        """Return whether rows may have become others without anything recorded of their people."""
        last = None if audience.fed_export is None else queries.find_export(connection, audience.fed_export)
        if last is None or last.bundle != given.bundle or last.fields != given.fields:
            return True
        return last.created_at // DAY != given.created_at // DAY

    def _changed(
        self, connection: Connection, audience: Audience, given: Authorisation, anchors: dict[int, int]
    ) -> list[int]:
        last = queries.find_export(connection, audience.fed_export or "")
        touched = self._touched(connection, last or given)
        profiles = set(profiles_of(connection, touched).values())
        return [anchors[profile_no] for profile_no in profiles if profile_no in anchors]


def _anchors(connection: Connection, stored: Stored, known: BitMap) -> dict[int, int]:
    """Return profile_no → the identity that its reference is made from, of all of M∖D."""
    left = BitMap.union(BitMap(), *(BitMap.deserialize(one.identities) for one in stored.classes))
    left -= BitMap.deserialize(stored.changed)
    anchors: dict[int, int] = {}
    for number, profile_no in sorted(profiles_of(connection, left).items()):
        first = anchors.setdefault(profile_no, number)
        if number in known and first not in known:
            anchors[profile_no] = number
    return anchors


def _digest(members: Members) -> bytes:
    return hashlib.sha256(b"%d|%b" % (members.version, BitMap(members.bitmap).serialize())).digest()
