"""What is known of the candidates at one snapshot, as bitmaps.

Invariants:

1. Everything is read from one connection, that is one snapshot, so that no fact is older than another.
2. Restraints are read to the snapshot's head; what cannot be read raises, and nothing is released.
3. Facts that enable are TRUE or absent, never FALSE: a grant that expired must not reveal more than one
   that holds (a FALSE permit has no word on the fields any more).
4. Recorded places are **all** values ever recorded, never folded to the newest: moving away from a
   jurisdiction does not shake off its law.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime

import msgspec
from pyroaring import BitMap

from cdp.clock import DAY, Micros
from cdp.consent import RESTRAINING, ConsentLedger, Standing, Standings
from cdp.gate import queries
from cdp.gate.model import Condition, FactSets, Terms
from cdp.gate.opening import Opener
from cdp.gate.population import NOWHERE, Kinds, Known, Population, Said
from cdp.policy import Bundle, Destination, Purpose
from cdp.profiles import ProfileService
from cdp.segments import SegmentService
from cdp.store import Connection, read_head

_BIRTH_DATE = "user.demographic.date_of_birth"
_MAJORITY = 18
_MANY = 2_000
"""From so many people on, facts come out of what is kept of everybody."""
_decode = msgspec.json.Decoder().decode


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What happened since a commit.

    :param relinked: identities in components whose links changed.
    :param profiles: profiles whose consent changed, or that are on a black list now.
    """

    relinked: BitMap
    profiles: BitMap


class FactReader:
    """Reads the facts of candidates.

    :param upto: read recorded places as of this commit; now when None.
    """

    def __init__(
        self,
        ledger: ConsentLedger,
        segments: SegmentService,
        profiles: ProfileService,
        opener: Opener,
        upto: int | None = None,
    ) -> None:
        self._ledger = ledger
        self._segments = segments
        self._profiles = profiles
        self._opener = opener
        self._population = Population(ledger, self._said, self._births)
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
        if self._upto is None and len(members) > _MANY:
            known = self._population.at(connection, purpose.key, *_declared(bundle), now)
            if known is not None:
                return self._of_many(
                    connection, BitMap(members), relinked, terms, bundle, destination, purpose, now, known
                )
        people = BitMap(members)
        standings = self._ledger.states(connection, purpose.key, members)
        restraints = self._lists(connection, people, relinked)
        if purpose.restrainable:
            for profile_no, standing in standings.items():
                if standing.state in RESTRAINING:
                    restraints[standing.state].add(profile_no)
        true = {
            condition: BitMap(no for no, one in standings.items() if holds(condition, one, destination, now))
            for condition in map(positive, terms.conditions())
        }
        for condition in true:
            if condition.kind == "not_minor":
                births = self._births(connection, people, _declared(bundle)[1], now)
                true[condition] = people - _minors(births, now)
        return FactSets(
            people=people,
            places=self._places(connection, bundle, members),
            restraints=restraints,
            true=true,
            false={},
            stale=BitMap(no for no, standing in standings.items() if standing.state == "stale"),
            valid_until=_valid_until(standings.values(), terms),
        )

    def _of_many(
        self,
        connection: Connection,
        people: BitMap,
        relinked: BitMap,
        terms: Terms,
        bundle: Bundle,
        destination: Destination,
        purpose: Purpose,
        now: Micros,
        known: Known,
    ) -> FactSets:
        """Return the same facts out of what is kept of everybody."""
        held = known.standings
        restraints = self._lists(connection, people, relinked)
        if purpose.restrainable:
            restraints |= {state: found & people for state, found in held.restrained().items()}
        minors = _minors(known.births, now)
        places: dict[str, BitMap] = defaultdict(BitMap)
        for said, found in known.places.items():
            for jurisdiction in bundle.jurisdictions.recorded(said.countries, said.states):
                places[jurisdiction] |= found & people
        conditions = set(map(positive, terms.conditions()))
        ages = [condition.days * DAY for condition in conditions if condition.kind == "consent_age"]
        return FactSets(
            people=people,
            places=places,
            restraints=restraints,
            true={
                condition: people - minors
                if condition.kind == "not_minor"
                else _holding(condition, held, destination, now) & people
                for condition in conditions
            },
            false={},
            stale=held.stale(now) & people,
            valid_until=held.valid_until(now, ages, people),
        )

    def _lists(self, connection: Connection, people: BitMap, relinked: BitMap) -> dict[str, BitMap]:
        """Return the restraints that are not the ledger's."""
        restraints: dict[str, BitMap] = defaultdict(BitMap)
        restraints["identity_changed"] = relinked
        restraints["black_list"] = self._segments.blocked(connection) & people
        return restraints

    def check_derived(self, connection: Connection) -> None:
        """Refuse while states of consent are those of other purposes (``ConsentLedger.check_derived``)."""
        self._ledger.check_derived(connection)

    def changed_since(self, connection: Connection, commit_no: int, people: BitMap) -> Changes:
        """Return whom of ``people`` something happened to after ``commit_no`` that may restrain.

        More than that: whose consent changed at all, so that nobody has to judge here.
        """
        if read_head(connection)[0] == commit_no:
            return Changes(relinked=BitMap(), profiles=BitMap())
        changed = self._ledger.changed_since(connection, commit_no) | self._segments.blocked(connection)
        return Changes(relinked=queries.relinked_since(connection, commit_no), profiles=changed & people)

    def touched_since(
        self, connection: Connection, commit_no: int, members: Mapping[int, Sequence[int]], bundle: Bundle
    ) -> tuple[BitMap, BitMap]:
        """Return (people of whom any fact may have changed after ``commit_no``, those relinked)."""
        people = BitMap(members)
        changes = self.changed_since(connection, commit_no, people)
        relinked = touching(members, changes.relinked)
        spoken = queries.spoken_since(connection, commit_no, decisive_traits(bundle))
        return changes.profiles | relinked | touching(members, spoken), relinked

    def heard_since(
        self, connection: Connection, commit_no: int, bundle: Bundle, names: Sequence[str] = ()
    ) -> tuple[BitMap, BitMap]:
        """Return (identities, profiles) of which any fact may have changed after ``commit_no``.

        Black lists aside: see ``blocked``.

        :param names: further traits to look for.
        """
        spoken = queries.spoken_since(connection, commit_no, [*decisive_traits(bundle), *names])
        relinked = queries.relinked_since(connection, commit_no)
        return spoken | relinked, self._ledger.changed_since(connection, commit_no)

    def blocked(self, connection: Connection) -> BitMap:
        """Return the profiles on black lists."""
        return self._segments.blocked(connection)

    def _places(
        self, connection: Connection, bundle: Bundle, members: Mapping[int, Sequence[int]]
    ) -> dict[str, BitMap]:
        profile_of = {no: profile for profile, numbers in members.items() for no in numbers}
        found: dict[str, BitMap] = defaultdict(BitMap)
        # by identity, so that a merge only ever adds a jurisdiction
        for number, said in self._said(connection, profile_of, _declared(bundle)[0]).items():
            for jurisdiction in bundle.jurisdictions.recorded(said.countries, said.states):
                found[jurisdiction].add(profile_of[number])
        return found

    def _said(
        self, connection: Connection, identity_nos: Iterable[int] | None, kinds: Kinds
    ) -> dict[int, Said]:
        """Return identity_no → every place ever recorded of it, opened where it is sealed.

        :param identity_nos: of these; of everybody when None.
        """
        wanted = None if identity_nos is None else list(identity_nos)
        kind_of = dict(kinds)
        rows = list(queries.recorded_places(connection, wanted, list(kind_of), self._upto))
        opened = self._opener.traits(
            (no, name, sealed, event) for no, name, _, sealed, event in rows if sealed
        )
        found: dict[int, Said] = {}
        following: dict[tuple[Said, str, str], Said] = {}  # few, however many people

        def add(number: int, kind: str, value: object) -> None:
            if isinstance(value, str):
                step = found.get(number, NOWHERE), kind, value
                if step not in following:
                    following[step] = step[0].plus(kind, value)
                found[number] = following[step]

        for number, name, value, sealed, event_id in rows:
            recorded = opened[number, name, event_id] if sealed else _decode(value or "null")
            add(number, kind_of[name], recorded)
        for number, recorded in queries.consent_places(connection, wanted, self._upto):
            add(number, "country", recorded)
        return found

    def _births(
        self, connection: Connection, people: Iterable[int], names: frozenset[str], now: Micros
    ) -> dict[int, date]:
        """Return profile_no → day of birth, of the minors among ``people``."""
        held = self._profiles.observations(connection, people, names)
        of_age, born = _of_age(now), dict[int, date]()
        for profile_no, value in self._opener.observations(held):
            with suppress(ValueError):
                if isinstance(value, str) and (day := date.fromisoformat(value[:10])) > of_age:
                    born[profile_no] = max(day, born.get(profile_no, day))
        return born


def _of_age(now: Micros) -> date:
    """Return the last day of birth of those who are of age.

    One cut-off for the last days of a month: on leap days nobody comes of age too early.
    """
    today = datetime.fromtimestamp(now / 1e6, UTC).date()
    return today.replace(year=today.year - _MAJORITY, day=min(today.day, 28))


def _minors(births: Mapping[int, date], now: Micros) -> BitMap:
    of_age = _of_age(now)
    return BitMap(no for no, day in births.items() if day > of_age)


def _declared(bundle: Bundle) -> tuple[Kinds, frozenset[str]]:
    """Return the traits that record a place, with its kind, and those that record a birth."""
    traits = bundle.fields.traits.items()
    return (
        frozenset((name, rule.place) for name, rule in traits if rule.place),
        frozenset(name for name, rule in traits if rule.category == _BIRTH_DATE),
    )


def decisive_traits(bundle: Bundle) -> list[str]:
    """Return the traits by which a decision may turn out another way."""
    kinds, births = _declared(bundle)
    return sorted(births | {name for name, _ in kinds})


def _valid_until(standings: Iterable[Standing], terms: Terms) -> Micros | None:
    """Return when the first grant loses its force by age alone; None when none ever does."""
    ages = [condition.days * DAY for condition in terms.conditions() if condition.kind == "consent_age"]
    ends = [
        end
        for one in standings
        if one.state == "granted"
        for end in (one.expires_at, *((one.granted_at or 0) + age + 1 for age in ages))
        if end is not None
    ]
    return min(ends, default=None)


def positive(condition: Condition) -> Condition:
    """Return the fact that a condition is about."""
    return Condition(condition.kind, condition.days)


def holds(condition: Condition, standing: Standing, destination: Destination, now: Micros) -> bool:
    """Return whether a fact of the ledger holds; only ``granted`` is granted."""
    granted = standing.state == "granted" and (
        not standing.recipients or destination.name in standing.recipients
    )
    match condition.kind:
        case "consent":
            return granted
        case "consent_age":
            at = standing.granted_at
            return granted and at is not None and now - at <= condition.days * DAY
        case "separate_consent":
            return granted and standing.event_type == "separate"
        case "notice_given" | "notice_current":
            return standing.notice_current
        case _:
            return False


def _holding(condition: Condition, held: Standings, destination: Destination, now: Micros) -> BitMap:
    """Return the people of whom a fact of the ledger holds: ``holds`` over everybody."""
    match condition.kind:
        case "consent":
            return held.granted(now, destination.name)
        case "consent_age":
            return held.granted(now, destination.name, since=now - condition.days * DAY)
        case "separate_consent":
            return held.granted(now, destination.name, event_type="separate")
        case "notice_given" | "notice_current":
            return held.on_current_notice()
        case _:
            return BitMap()


def touching(members: Mapping[int, Sequence[int]], identities: BitMap) -> BitMap:
    """Return the profiles of which an identity is among ``identities``."""
    if not identities:
        return BitMap()
    return BitMap(no for no, numbers in members.items() if any(number in identities for number in numbers))
