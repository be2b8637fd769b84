"""What a candidate bundle would mean for everybody: people and fields gained and lost.

Invariants:

1. Both bundles are decided over one snapshot by the very code that decides exports (``compile_sets``), for
   everybody rather than a segment, so no inputs are read.
2. Consent counts as the candidate would derive it: where its purposes differ, states are derived from the
   records, not taken from the table.
3. A destination that is switched off stays off under the candidate.
4. A (destination, purpose) under which nothing can have changed is not read at all; what both bundles know
   alike is read once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from pyroaring import BitMap

from cdp.clock import Clock, Micros
from cdp.consent import ConsentLedger, Standing, Standings
from cdp.crypto import Keyring
from cdp.gate.admit import barred
from cdp.gate.bind import bind
from cdp.gate.compile import compile_sets
from cdp.gate.facts import FactReader, decisive_traits
from cdp.gate.manifest import word
from cdp.gate.model import DROP, FactSets, FieldPlan, Partition, Terms
from cdp.gate.opening import Opener
from cdp.gate.told import Telling
from cdp.identity import IdentityService
from cdp.policy import Bundle, Destination, Purpose
from cdp.segments import SegmentService
from cdp.store import Connection, chunks

_PAGE = 1000
_NOBODY = Partition(classes=(), withheld={})


class FieldChange(msgspec.Struct, frozen=True, order=True):
    """People of whom a field would leave in another form (``drop`` for not at all)."""

    field: str
    before: str
    after: str
    people: int


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """What would change for one destination and purpose.

    :param before: people of whom a row may leave now; ``after`` likewise under the candidate.
    :param reasons: of those lost: why, by reason code.
    :param fields: of those in both.
    """

    destination: str
    purpose: str
    before: int
    after: int
    gained: int
    lost: int
    reasons: dict[str, int]
    fields: tuple[FieldChange, ...]


class _Side(msgspec.Struct, frozen=True):
    """One bundle bound to one (destination, purpose)."""

    bundle: Bundle
    destination: Destination
    purpose: Purpose
    terms: Terms


class Differ:
    """Decides everybody under two bundles."""

    def __init__(
        self,
        keyring: Keyring,
        facts: FactReader,
        ledger: ConsentLedger,
        identity: IdentityService,
        segments: SegmentService,
        clock: Clock,
    ) -> None:
        self._keyring = keyring
        self._facts = facts
        self._ledger = ledger
        self._identity = identity
        self._segments = segments
        self._clock = clock

    def flows(self, connection: Connection, old: Bundle, new: Bundle) -> tuple[Flow, ...]:
        """Return every (destination, purpose) under which somebody gains or loses something.

        :param old: the bundle in force; ``new`` the candidate.
        :raises UnavailableError: consent is being derived under policies that just came in force.
        """
        self._ledger.check_derived(connection)
        now = self._clock.now()
        wanted = []
        for destination, purpose in sorted(_pairs(old) | _pairs(new)):
            before, after = (_side(bundle, destination, purpose, now) for bundle in (old, new))
            if not _alike(before, after):
                wanted.append((destination, purpose, before, after))
        if not wanted:
            return ()
        everybody = self._identity.everybody(connection)
        people = BitMap(everybody)
        alone = people - BitMap(no for no, numbers in everybody.items() if len(numbers) > 1)
        alone -= self._ledger.naming(connection, old.purposes)
        ledger = Prospective(
            self._keyring, self._ledger, self._identity, old, new, people, alone, self._clock
        )
        beside = self._facts if Telling.of(old) == Telling.of(new) else None
        reading = _Reading(
            connection,
            everybody,
            self._facts,
            FactReader(ledger, self._segments.blocked, Opener(self._keyring), beside=beside),
            lambda purpose: _places(old) == _places(new) and ledger.keeps(purpose),
            now,
        )
        found = []
        for destination, purpose, before, after in wanted:
            flow = _flow(destination, purpose, before, after, *reading.partitions(before, after))
            if flow is not None:
                found.append(flow)
        return tuple(found)


class Prospective(ConsentLedger):
    """The ledger as it would answer under a candidate.

    Where only notices and validity of a purpose differ, the grants in the table are graded anew; otherwise,
    and for profiles of several identities, states are derived from the records.

    :param held: the ledger in force, whose states are in the table.
    :param people: every profile; ``alone`` those of one identity that name no recipients.
    """

    def __init__(
        self,
        keyring: Keyring,
        held: ConsentLedger,
        identity: IdentityService,
        old: Bundle,
        new: Bundle,
        people: BitMap,
        alone: BitMap,
        clock: Clock,
    ) -> None:
        super().__init__(keyring, new, clock)
        self._held = held
        self._people = people
        self._alone = alone
        self._identity = identity
        rest = ConsentLedger(keyring, msgspec.structs.replace(new, purposes=old.purposes), clock)
        same = rest.rules.names == held.rules.names
        self._changed = frozenset(self.rules.other_than(held.rules))
        self._regraded = frozenset(
            key
            for key in self._changed
            if same
            and key in old.purposes
            and old.purposes[key].restrainable == new.purposes[key].restrainable
        )
        self._columns: dict[str, Standings] = {}

    def keeps(self, purpose: str) -> bool:
        """True when the states of the purpose would stay as they are."""
        return purpose not in self._changed

    def standings(
        self, connection: Connection, purpose: str, among: Iterable[int] | None = None
    ) -> Standings:
        """Return the states of one purpose, as they would be, as columns; of everybody where they change."""
        if self.keeps(purpose):
            return super().standings(connection, purpose, among)
        if not self._columns:
            self._columns = self._derive_changed(connection)
        return self._columns[purpose]

    def _derive_changed(self, connection: Connection) -> dict[str, Standings]:
        found: dict[str, dict[int, Standing]] = {purpose: {} for purpose in self._changed}
        graded = self._changed == self._regraded  # otherwise everybody's records are read
        wanted = self._people - self._alone if graded else self._people
        for page in chunks(wanted, _PAGE):
            members = self._identity.consent_members(connection, page)
            for (profile_no, purpose), state in self.derive(connection, members, self._changed).items():
                found[purpose][profile_no] = state
        columns = {purpose: Standings.gather(states) for purpose, states in found.items()}
        if not graded:
            return columns
        return {
            purpose: self._graded(connection, purpose).replaced(BitMap(found[purpose]), several)
            for purpose, several in columns.items()
        }

    def _graded(self, connection: Connection, purpose: str) -> Standings:
        return self.regraded(connection, purpose, self._held, self._alone)


class _Reading:
    """Facts of everybody at one snapshot, under both bundles.

    :param alike: tells for which purposes both bundles know the same of everybody.
    """

    def __init__(
        self,
        connection: Connection,
        members: Mapping[int, Sequence[int]],
        held: FactReader,
        would_be: FactReader,
        alike: Callable[[str], bool],
        now: Micros,
    ) -> None:
        self._connection = connection
        self._members = members
        self._held = held
        self._would_be = would_be
        self._alike = alike
        self._now = now

    def partitions(self, before: _Side | None, after: _Side | None) -> tuple[Partition, Partition]:
        """Return what is decided under the bundle in force and under the candidate."""
        if before and after and before.purpose == after.purpose and self._alike(after.purpose.key):
            facts = self._read(self._held, before, _joined(before.terms, after.terms))
            return compile_sets(before.terms, facts), compile_sets(after.terms, facts)
        return self._decide(self._held, before), self._decide(self._would_be, after)

    def _decide(self, reader: FactReader, side: _Side | None) -> Partition:
        return _NOBODY if side is None else compile_sets(side.terms, self._read(reader, side, side.terms))

    def _read(self, reader: FactReader, side: _Side, terms: Terms) -> FactSets:
        return reader.read(
            self._connection,
            self._members,
            BitMap(),
            terms,
            side.bundle,
            side.destination,
            side.purpose,
            self._now,
        )


def _pairs(bundle: Bundle) -> set[tuple[str, str]]:
    return {(name, purpose) for name, held in bundle.destinations.items() for purpose in held.purposes}


def _side(bundle: Bundle, destination: str, purpose: str, now: Micros) -> _Side | None:
    """Return the bundle bound to a question; None when it lets nobody's data go there at all."""
    target, stated = bundle.destinations.get(destination), bundle.purposes.get(purpose)
    if target is None or stated is None or barred(target, stated, now) is not None:
        return None
    return _Side(bundle, target, stated, bind(bundle, target, stated, frozenset(), None))


def _alike(before: _Side | None, after: _Side | None) -> bool:
    """True when no decision can differ: the same terms over the same facts."""
    if before is None or after is None:
        return before is after
    return (
        before.terms == after.terms
        and before.purpose == after.purpose
        and _places(before.bundle) == _places(after.bundle)
        and before.bundle.signals == after.bundle.signals
    )


def _places(bundle: Bundle) -> object:
    """Return everything that facts beside consent are read by."""
    return bundle.jurisdictions, [bundle.fields.traits[name] for name in decisive_traits(bundle)]


def _joined(one: Terms, other: Terms) -> Terms:
    """Return terms that need the facts of both."""
    return msgspec.structs.replace(
        one,
        permits=(*one.permits, *other.permits),
        forbids=(*one.forbids, *other.forbids),
        limits=(*one.limits, *other.limits),
    )


def _flow(
    destination: str,
    purpose: str,
    before: _Side | None,
    after: _Side | None,
    was: Partition,
    would_be: Partition,
) -> Flow | None:
    old, new = was.permitted(), would_be.permitted()
    lost = old - new
    fields = _field_changes(before, after, was, would_be)
    if old == new and not fields:
        return None
    reasons = {reason: len(people & lost) for reason, people in would_be.withheld.items() if people & lost}
    return Flow(
        destination=destination,
        purpose=purpose,
        before=len(old),
        after=len(new),
        gained=len(new - old),
        lost=len(lost),
        reasons=reasons or ({"not_permitted": len(lost)} if lost else {}),
        fields=fields,
    )


def _field_changes(
    before: _Side | None, after: _Side | None, was: Partition, would_be: Partition
) -> tuple[FieldChange, ...]:
    if before is None or after is None:
        return ()
    counted: dict[tuple[str, str, str], int] = defaultdict(int)
    for old_people, old_plan in was.classes:
        old_words = _words(before.terms, old_plan)
        for new_people, new_plan in would_be.classes:
            both = old_people & new_people
            if not both:
                continue
            new_words = _words(after.terms, new_plan)
            for name in old_words.keys() | new_words.keys():
                one, other = old_words.get(name, DROP.kind), new_words.get(name, DROP.kind)
                if one != other:
                    counted[name, one, other] += len(both)
    return tuple(sorted(FieldChange(*key, people) for key, people in counted.items()))


def _words(terms: Terms, plan: FieldPlan) -> Mapping[str, str]:
    return dict(zip(terms.fields, map(word, plan), strict=True))


def affected(flows: Sequence[Flow]) -> dict[str, int]:
    """Return the sums over flows, for an audit entry: of decisions, as one person may be in several."""
    return {"gained": sum(flow.gained for flow in flows), "lost": sum(flow.lost for flow in flows)}
