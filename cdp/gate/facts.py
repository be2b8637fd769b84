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
from cdp.consent import RESTRAINING, ConsentLedger, Standing
from cdp.gate import queries
from cdp.gate.model import Condition, FactSets, Terms
from cdp.gate.opening import Opener
from cdp.policy import Bundle, Destination, Jurisdictions, Purpose
from cdp.profiles import ProfileService
from cdp.segments import SegmentService
from cdp.store import Connection, read_head

_BIRTH_DATE = "user.demographic.date_of_birth"
_MAJORITY = 18


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What happened since a commit.

    :param relinked: identities in components whose links changed.
    :param profiles: profiles whose consent changed, or that are on a black list now.
    """

    relinked: BitMap
    profiles: BitMap


class FactReader:
    """Reads the facts of candidates."""

    def __init__(
        self, ledger: ConsentLedger, segments: SegmentService, profiles: ProfileService, opener: Opener
    ) -> None:
        self._ledger = ledger
        self._segments = segments
        self._profiles = profiles
        self._opener = opener

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
        standings = self._ledger.states(connection, purpose.key, members)
        restraints: dict[str, BitMap] = defaultdict(BitMap)
        restraints["identity_changed"] = relinked
        restraints["black_list"] = self._segments.blocked(connection) & people
        if purpose.restrainable:
            for profile_no, standing in standings.items():
                if standing.state in RESTRAINING:
                    restraints[standing.state].add(profile_no)
        true = {
            condition: BitMap(no for no, one in standings.items() if _holds(condition, one, destination, now))
            for condition in map(_positive, terms.conditions())
        }
        for condition in true:
            if condition.kind == "not_minor":
                true[condition] = people - self._minors(connection, bundle, people, now)
        return FactSets(
            people=people,
            places=self._places(connection, bundle, members),
            restraints=restraints,
            true=true,
            false={},
            stale=BitMap(no for no, standing in standings.items() if standing.state == "stale"),
            valid_until=_valid_until(standings.values(), terms),
        )

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
        named = [
            name for name, rule in bundle.fields.traits.items() if rule.place or rule.category == _BIRTH_DATE
        ]
        spoken = queries.spoken_since(connection, commit_no, named)
        return changes.profiles | relinked | touching(members, spoken), relinked

    def _places(
        self, connection: Connection, bundle: Bundle, members: Mapping[int, Sequence[int]]
    ) -> dict[str, BitMap]:
        profile_of = {no: profile for profile, numbers in members.items() for no in numbers}
        names = [name for name, rule in bundle.fields.traits.items() if rule.place]
        rows = list(queries.recorded_places(connection, profile_of, names))
        opened = self._opener.traits(
            (no, name, sealed, event) for no, name, _, sealed, event in rows if sealed
        )
        found: dict[str, BitMap] = defaultdict(BitMap)
        for number, name, value, sealed, event_id in rows:
            recorded = opened[number, name, event_id] if sealed else msgspec.json.decode(value or "null")
            for place in _jurisdiction(bundle.jurisdictions, recorded):
                found[place].add(profile_of[number])
        for number, recorded in queries.consent_places(connection, profile_of):
            for place in _jurisdiction(bundle.jurisdictions, recorded):
                found[place].add(profile_of[number])
        return found

    def _minors(self, connection: Connection, bundle: Bundle, people: BitMap, now: Micros) -> BitMap:
        names = [name for name, rule in bundle.fields.traits.items() if rule.category == _BIRTH_DATE]
        held = self._profiles.observations(connection, people, names)
        today = datetime.fromtimestamp(now / 1e6, UTC).date()
        # one cut-off for the last days of a month: on leap days nobody comes of age too early
        of_age = today.replace(year=today.year - _MAJORITY, day=min(today.day, 28))
        minors = BitMap()
        for profile_no, value in self._opener.observations(held):
            with suppress(ValueError):
                if isinstance(value, str) and date.fromisoformat(value[:10]) > of_age:
                    minors.add(profile_no)
        return minors


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


def _positive(condition: Condition) -> Condition:
    return Condition(condition.kind, condition.days)


def _holds(condition: Condition, standing: Standing, destination: Destination, now: Micros) -> bool:
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


def _jurisdiction(known: Jurisdictions, recorded: object) -> Iterable[str]:
    """Return the jurisdiction of a recorded place, or of a jurisdiction recorded by name."""
    if not isinstance(recorded, str):
        return ()
    place = recorded if recorded in known.configured else known.place(recorded)
    return () if place is None else (place,)


def touching(members: Mapping[int, Sequence[int]], identities: BitMap) -> BitMap:
    """Return the profiles of which an identity is among ``identities``."""
    return BitMap(no for no, numbers in members.items() if any(number in identities for number in numbers))
