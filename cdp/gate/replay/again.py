"""Deciding people of an export again, a page at a time, from the facts as they stood then.

The steps of a page:

1. Its people and their identities are those on record, not those of now.
2. What consent had to know of them is told by the history of links as of the ledger position, under the
   device types of the policies of then; what was recorded of consent, places and ages, likewise.
3. What nothing else tells is taken from the record: whose links had changed, who stood on a black list. Who
   was withheld because keys did not open is so again, if nothing else stands against it.
4. ``compile_sets``, as when it was decided. Where retention ran since, what told of places and ages may be
   gone: then again by those on record, of whoever has none now that is not on record.
5. Who had to be taken out between the ledger position and the commit of the export: people whose state of any
   purpose changed, who came to be restrained for evaluating segments, or whose profile became another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import msgspec
import numpy as np
from pyroaring import BitMap

from cdp.clock import Clock, Micros
from cdp.consent import RESTRAINING
from cdp.crypto import Keyring
from cdp.errors import NotFoundError
from cdp.gate import manifest
from cdp.gate.bind import bind
from cdp.gate.compile import compile_sets
from cdp.gate.facts import FactReader
from cdp.gate.model import FactSets
from cdp.gate.opening import Opener
from cdp.gate.queries import Stored
from cdp.gate.replay import queries
from cdp.gate.replay.compare import Members, Page
from cdp.gate.replay.record import NOT_MINOR, Record, minors_of, unpack_sets
from cdp.gate.then import LedgerThen
from cdp.identity import IdentityService
from cdp.policy import Bundle
from cdp.segments import PURPOSE
from cdp.store import Connection

KEYLESS = "key_unavailable"


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """An export with all that it is decided again by.

    :param committed: the commit that brought it.
    :param withheld: reason → profiles, as recorded; empty where there is no record.
    :param causes: why each of D was taken out; None where it is not known.
    :param expired: retention ran since, so that what told of places and ages may be gone.
    """

    stored: Stored
    bundle: Bundle
    committed: int
    decided_at: Micros
    withheld: Mapping[str, BitMap]
    causes: Mapping[str, BitMap] | None
    record: Record | None
    places: Mapping[str, BitMap]
    minors: BitMap
    expired: bool

    @staticmethod
    def of(
        stored: Stored,
        bundle: Bundle,
        committed: int,
        record: Record | None,
        causes: bytes | None,
        *,
        expired: bool,
    ) -> Case:
        """Make the case of a stored export."""
        withheld = {} if record is None else record.sets(record.withheld)
        known = record is not None or causes is not None
        return Case(
            stored=stored,
            bundle=bundle,
            committed=committed,
            decided_at=stored.authorisation.created_at if record is None else record.decided_at,
            withheld=withheld,
            causes=unpack_sets(causes) if causes is not None else {} if known else None,
            record=record,
            places={} if record is None else record.sets(record.places),
            minors=BitMap() if record is None else record.people_of(record.minors),
            expired=expired and record is not None,
        )


class Again:
    """Decides the people of one export again.

    :raises NotFoundError: the policies of then know no such destination or purpose.
    """

    def __init__(self, keyring: Keyring, identity: IdentityService, clock: Clock, case: Case) -> None:
        given, bundle = case.stored.authorisation, case.bundle
        target, stated = bundle.destinations.get(given.destination), bundle.purposes.get(given.purpose)
        if target is None or stated is None:
            raise NotFoundError("the policies of then know no such destination or purpose")
        self._keyring = keyring
        self._identity = identity
        self._case = case
        self._then = given.ledger_position
        self._destination, self._purpose = target, stated
        self._terms = bind(bundle, target, stated, case.stored.inputs, given.fields)
        self._ledger = LedgerThen(keyring, bundle, clock, self._then, case.decided_at)
        self._moved = case.withheld.get("identity_changed", BitMap())
        blocked = case.withheld.get("black_list", BitMap())
        self._facts = FactReader(self._ledger, lambda _: blocked, Opener(keyring), self._then)
        self._happened: tuple[BitMap, BitMap] | None = None

    def people(self, connection: Connection, size: int) -> tuple[int, Iterator[Members]]:
        """Return how many people there are, and their pages; without a record those that were decided for."""
        record = self._case.record
        if record is not None:
            numbers, owners = record.members()
        else:
            classes = (BitMap.deserialize(one.identities) for one in self._case.stored.classes)
            held = BitMap.union(BitMap(), *classes)
            pairs = [
                (number, group[0])
                for group in self._identity.grouped_at(connection, list(held), self._then)
                for number in group
            ]
            rows = np.array(pairs, np.int64).reshape(-1, 2)
            numbers, owners = rows[:, 0], rows[:, 1]
            order = np.argsort(owners, kind="stable")
            numbers, owners = numbers[order], owners[order]
        profiles, starts = np.unique(owners, return_index=True)
        bounds = np.append(starts, len(numbers))

        def pages() -> Iterator[Members]:
            for first in range(0, len(profiles), size):
                places = range(first, min(first + size, len(profiles)))
                yield {int(profiles[at]): numbers[bounds[at] : bounds[at + 1]].tolist() for at in places}

        return len(profiles), pages()

    def page(self, connection: Connection, members: Members) -> Page:
        """Decide a page of people."""
        rules = self._case.bundle.identity
        related = self._identity.members_then(connection, members, self._then, rules)  # 2
        self._ledger.about(connection, related)
        everyone = BitMap(number for numbers in members.values() for number in numbers)
        gone = everyone - queries.still_there(connection, everyone)
        gone |= BitMap(self._keyring.destroyed(everyone - gone))
        secrets = self._keyring.proof_secrets(everyone)
        place = partial(manifest.position, export_id=self._case.stored.authorisation.export_id)
        taken_out, touched = self._between(connection, members, gone)  # 5
        outcome, instead = self._decided(connection, members)
        return Page(
            members=members,
            outcome=outcome,
            instead=instead,
            gone=gone,
            positions={number: place(secret) for number, secret in secrets.items()},
            taken_out=taken_out,
            touched=touched,
        )

    def _decided(
        self, connection: Connection, members: Members
    ) -> tuple[dict[int, bytes | str], dict[int, bytes | str]]:
        """Return what came of people, and of whom facts may have expired by those on record."""
        people = BitMap(members)
        facts = self._facts.read(
            connection,
            members,
            self._moved & people,  # 3
            self._terms,
            self._case.bundle,
            self._destination,
            self._purpose,
            self._case.decided_at,
        )
        recorded = self._as_recorded(facts) if self._case.expired else None
        return self._outcome(facts), {} if recorded is None else self._outcome(recorded)

    def _outcome(self, facts: FactSets) -> dict[int, bytes | str]:
        partition = compile_sets(self._terms, facts)  # 4
        outcome: dict[int, bytes | str] = {}
        for reason, found in partition.withheld.items():
            outcome.update(dict.fromkeys(found, reason))
        for found, plan in partition.classes:
            outcome.update(dict.fromkeys(found, manifest.plan_value(self._terms.fields, plan)))
        keyless = self._case.withheld.get(KEYLESS, BitMap()) & partition.permitted()
        outcome.update(dict.fromkeys(keyless, KEYLESS))
        return outcome

    def _as_recorded(self, facts: FactSets) -> FactSets | None:
        """Return the facts with places and ages as recorded, of people of whom some are gone; None of nobody.

        Retention adds nothing: of whom anything is there that is not on record, it explains nothing.
        """
        nobody, now = BitMap(), minors_of(facts)
        kept = {place: people & facts.people for place, people in self._case.places.items()}
        minors = self._case.minors & facts.people
        lost = BitMap.union(minors - now, *(kept[one] - facts.places.get(one, nobody) for one in kept))
        new = BitMap.union(now - minors, *(had - kept.get(one, nobody) for one, had in facts.places.items()))
        people = lost - new
        if not people:
            return None
        adults = {NOT_MINOR: people - minors} if NOT_MINOR in facts.true else {}
        return msgspec.structs.replace(facts, people=people, places=kept, true={**facts.true, **adults})

    def _between(self, connection: Connection, members: Members, gone: BitMap) -> tuple[BitMap, BitMap]:
        """Return (whom facts say had to be taken out of M, to whom anything happened)."""
        upto = self._case.committed
        if self._happened is None:
            self._happened = (
                queries.spoken_between(connection, self._then, upto),
                queries.related_between(connection, self._then, upto),
            )
        spoken, moved = (
            BitMap(no for no, numbers in members.items() if found.intersection_cardinality(BitMap(numbers)))
            if found
            else BitMap()
            for found in self._happened
        )
        changed = self._ledger.later(connection, self._case.bundle.purposes, spoken, upto)
        out = BitMap(changed)
        if PURPOSE in self._case.bundle.purposes:
            suspect = self._ledger.ever(RESTRAINING) | spoken
            states = self._ledger.at(connection, PURPOSE, suspect, upto)
            out |= BitMap(no for no, state in states.items() if state.state in RESTRAINING)
        for no in moved:
            numbers = set(members[no])
            if gone.isdisjoint(BitMap(numbers)):
                now = self._identity.members_at(connection, no, upto)
                if {member.identity_no for member in now} != numbers:
                    out.add(no)
        return out, spoken | moved
