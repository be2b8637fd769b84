"""What is known of the candidates at one snapshot, as bitmaps.

Invariants:

1. Everything is read from one connection, that is one snapshot, so that no fact is older than another.
2. Restraints are read to the snapshot's head; what cannot be read raises, and nothing is released.
3. Facts that enable are TRUE or absent, never FALSE: a grant that expired must not reveal more than one
   that holds (a FALSE permit has no word on the fields any more).
4. Places and ages are **all** that was ever told of any identity of the person (``told.py``), and come the
   same way for a few people, from the store, and for many, from memory (``population.py``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from pyroaring import BitMap

from cdp.clock import DAY, Micros
from cdp.consent import NEVER, ConsentLedger, Standings
from cdp.gate import queries
from cdp.gate.model import ADDRESSES, Condition, FactSets, Terms
from cdp.gate.opening import Opener
from cdp.gate.population import Known, Population, gather
from cdp.gate.told import Said, Telling, Told
from cdp.policy import Bundle, Destination, Jurisdictions, Purpose
from cdp.store import Connection, erased, read_head

_WHOSE = "compliance_review"
"""The purpose for which somebody asks where people are."""
_MANY = 2_000
"""From so many people on, facts come out of what is kept of everybody."""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What happened since a commit.

    :param relinked: identities in components whose links changed.
    :param spoken: profiles whose consent changed, or who were erased.
    :param blocked: profiles that are on a black list now.
    """

    relinked: BitMap = BitMap()
    spoken: BitMap = BitMap()
    blocked: BitMap = BitMap()


class Laws(NamedTuple):
    """What binds some people, for whoever asks it of each.

    :param of: profile_no → its jurisdictions; without any recorded place all that are configured.
    :param minors: profiles of which somebody ever said what only a minor may be.
    :param ages: the traits that say it.
    """

    of: dict[int, frozenset[str]]
    minors: BitMap
    ages: frozenset[str]


class FactReader:
    """Reads the facts of candidates.

    :param blocked: returns the profiles on black lists, as the given connection sees them.
    :param upto: read what was told as of this commit; now when None.
    :param beside: a reader of the same people, with which all but the states of consent is shared.
    """

    def __init__(
        self,
        ledger: ConsentLedger,
        blocked: Callable[[Connection], BitMap],
        opener: Opener,
        upto: int | None = None,
        beside: FactReader | None = None,
    ) -> None:
        self._ledger = ledger
        self.blocked = blocked
        self._told = Told(opener, upto)
        self.population: Population = Population(ledger, self._told) if beside is None else beside.population
        self._beside = beside is not None
        self._upto = upto

    def read(
        self,
        connection: Connection,
        members: Mapping[int, Sequence[int]],
        relinked: BitMap,
        terms: Terms,
        bundle: Bundle,
        destination: Destination,
        purpose: Purpose,
        now: Micros,
    ) -> FactSets:
        """Return the facts of the profiles in ``members``.

        :param members: profile_no → its identity numbers.
        :param relinked: profiles whose links changed since they were chosen.
        """
        people = BitMap(members)
        known = self._known(connection, members, purpose.key, Telling.of(bundle), now)
        held = known.standings
        restraints = {"identity_changed": relinked}
        if not purpose.internal:  # a black list says who is sent nothing, not who may not be looked after
            restraints["black_list"] = self.blocked(connection) & people
        if purpose.restrainable:
            restraints |= {state: found & people for state, found in held.restrained().items()}
        minors = known.minors(now)
        places = placed(known.places, people, bundle.jurisdictions)
        conditions = set(map(positive, terms.conditions()))
        ages = [condition.days * DAY for condition in conditions if condition.kind == "consent_age"]
        until = held.valid_until(now, ages, people)
        confirmed = BitMap()
        if Condition("double_opt_in") in conditions:
            confirmed, end = self._confirmed(connection, members, purpose, destination.name, now)
            until = min((one for one in (until, end) if one is not None), default=None)
        return FactSets(
            people=people,
            places=places,
            restraints=restraints,
            true={
                condition: people - minors
                if condition.kind == "not_minor"
                else confirmed & held.granted(now, destination.name)
                if condition.kind == "double_opt_in"
                else holding(condition, held, destination, now) & people
                for condition in conditions
            },
            false={},
            stale=held.stale(now) & people,
            valid_until=until,
        )

    def places(
        self, connection: Connection, members: Mapping[int, Sequence[int]], bundle: Bundle, now: Micros
    ) -> dict[str, BitMap]:
        """Return jurisdiction → the profiles of which a place in it is recorded; of others none is.

        :param members: profile_no → its identity numbers.
        """
        known = self._known(connection, members, _WHOSE, Telling.of(bundle), now)
        return placed(known.places, BitMap(members), bundle.jurisdictions)

    def _known(
        self,
        connection: Connection,
        members: Mapping[int, Sequence[int]],
        purpose: str,
        telling: Telling,
        now: Micros,
    ) -> Known:
        known = None
        if self._upto is None and len(members) > _MANY:
            known = self.population.at(connection, purpose, telling, now)
            if known is not None and self._beside:
                states = self._ledger.standings(connection, purpose)
                known = msgspec.structs.replace(known, standings=states)
        return known or gather(connection, self._ledger, self._told, purpose, telling, members)

    def _confirmed(
        self,
        connection: Connection,
        members: Mapping[int, Sequence[int]],
        purpose: Purpose,
        recipient: str,
        now: Micros,
    ) -> tuple[BitMap, Micros | None]:
        """Return (people who confirmed a grant in force, when the first confirmed one ends).

        Where the purpose goes to addresses, a person's last address of each of those types has to confirm it:
        that one is used, and a confirmation by another says nothing of it.
        """
        grants = self._ledger.confirmed(connection, purpose, recipient, self._upto)
        grants = grants[grants[:, 1] > now]
        several = [number for numbers in members.values() for number in numbers]
        grants = grants[np.isin(grants[:, 0], np.array(several, np.int64))]
        first = int(grants[:, 1].min(initial=NEVER))
        confirmed = BitMap(grants[:, 0].tolist())
        people = touching(members, confirmed)
        kinds = {ADDRESSES[channel] for channel in purpose.channels if channel in ADDRESSES}
        if kinds and people:
            several = [number for one in people for number in members[one]]
            addresses = [queries.of_type(connection, several, kind) for kind in sorted(kinds)]
            people = BitMap(one for one in people if confirms(members[one], addresses, confirmed))
        return people, None if first == NEVER else first

    def laws(
        self, connection: Connection, members: Mapping[int, Collection[int]], bundle: Bundle, now: Micros
    ) -> Laws:
        """Return what binds these people.

        :param members: profile_no → its identity numbers.
        """
        telling = Telling.of(bundle)
        known = gather(connection, self._ledger, self._told, "rights", telling, members)
        places = placed(known.places, BitMap(members), bundle.jurisdictions)
        own: dict[int, set[str]] = {profile_no: set() for profile_no in members}
        for jurisdiction, people in places.items():
            for profile_no in people:
                own[profile_no].add(jurisdiction)
        every, home = bundle.jurisdictions.configured, bundle.jurisdictions.controller
        found = {profile_no: home.union(places) if places else every for profile_no, places in own.items()}
        return Laws(found, known.minors(now), frozenset(name for name, _ in telling.ages))

    def check_derived(self, connection: Connection) -> None:
        """Refuse while states of consent are those of other purposes (``ConsentLedger.check_derived``)."""
        self._ledger.check_derived(connection)

    def changed_since(self, connection: Connection, commit_no: int, people: BitMap) -> Changes:
        """Return whom of ``people`` something happened to after ``commit_no`` that may restrain.

        More than that: whose consent changed at all, so that nobody has to judge here.
        """
        if read_head(connection)[0] == commit_no:
            return Changes()
        return Changes(
            relinked=queries.relinked_since(connection, commit_no),
            spoken=(self._ledger.changed_since(connection, commit_no) & people) | erased(connection, people),
            blocked=self.blocked(connection) & people,
        )

    def touched_since(
        self,
        connection: Connection,
        commit_no: int,
        people: BitMap,
        of: Callable[[BitMap], BitMap],
        bundle: Bundle,
    ) -> tuple[BitMap, BitMap]:
        """Return (people of whom any fact may have changed after ``commit_no``, those relinked).

        :param of: returns whom of ``people`` some identities belong to.
        """
        changes = self.changed_since(connection, commit_no, people)
        relinked = of(changes.relinked)
        spoken = queries.spoken_since(connection, commit_no, decisive_traits(bundle))
        return changes.spoken | changes.blocked | relinked | of(spoken), relinked

    def heard_since(
        self, connection: Connection, commit_no: int, bundle: Bundle, names: Sequence[str] = ()
    ) -> tuple[BitMap, BitMap]:
        """Return (identities, profiles) of which any fact may have changed after ``commit_no``.

        Black lists aside: see ``blocked``.

        :param names: further traits to look for, with what else decides which of their values holds.
        """
        named = {*decisive_traits(bundle), *bundle.fields.folded_from(names)}
        spoken = queries.spoken_since(connection, commit_no, named)
        relinked = queries.relinked_since(connection, commit_no)
        return spoken | relinked, self._ledger.changed_since(connection, commit_no)


def decisive_traits(bundle: Bundle) -> list[str]:
    """Return the traits by which a decision may turn out another way."""
    return sorted(Telling.of(bundle).names)


def placed(told: Mapping[Said, BitMap], people: BitMap, jurisdictions: Jurisdictions) -> dict[str, BitMap]:
    """Return jurisdiction → the people of whom a place in it is recorded, or hinted at beside one that is.

    :param told: places told of one identity → profiles that have such an identity.
    """
    places: dict[str, BitMap] = defaultdict(BitMap)
    for said, found in told.items():
        for jurisdiction in said.within(jurisdictions):
            places[jurisdiction] |= found & people
    somewhere = BitMap.union(*places.values()) if places else BitMap()
    for said, found in told.items():
        for jurisdiction in said.near(jurisdictions):
            places[jurisdiction] |= found & somewhere
    return places


def positive(condition: Condition) -> Condition:
    """Return the fact that a condition is about."""
    return Condition(condition.kind, condition.days)


def holding(condition: Condition, held: Standings, destination: Destination, now: Micros) -> BitMap:
    """Return the people of whom a fact of the ledger holds; only ``granted`` is granted."""
    match condition.kind:
        case "consent":
            return held.granted(now, destination.name)
        case "consent_age":
            return held.granted(now, destination.name, since=now - condition.days * DAY)
        case "separate_consent":
            return held.granted(now, destination.name, event_type="separate")
        case "notice_given":  # who agreed on the notice in force was shown it
            return held.informed() | held.on_current_notice(destination.name)
        case "notice_current":
            return held.on_current_notice(destination.name)
        case _:
            return BitMap()


def confirms(numbers: Sequence[int], addresses: Sequence[BitMap], confirmed: BitMap) -> bool:
    """Return whether a person's last address of each type is confirmed; without any there is nothing to.

    :param numbers: the person's identities.
    :param addresses: for each type the identities that are such an address.
    """
    own = BitMap(numbers)
    last = BitMap(found.max() for these in addresses if (found := own & these))
    return bool(last) and last <= confirmed


def touching(members: Mapping[int, Sequence[int]], identities: BitMap) -> BitMap:
    """Return the profiles of which an identity is among ``identities``."""
    if not identities:
        return BitMap()
    return BitMap(no for no, numbers in members.items() if any(number in identities for number in numbers))
