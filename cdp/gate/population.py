"""What is known of everybody, kept in memory and brought up to date with the commits.

A permission is worked out for a few people from what ``gather`` reads of them, and for many from here:
reading a million standings, places and memberships takes seconds, reading what changed since the last time
milliseconds. A property test holds the two equal.

Invariants:

1. ``_position`` is the commit up to which everything here was read. It is brought to exactly the head of the
   caller's snapshot; a snapshot older than it gets nothing and reads from the store.
2. Whatever a commit may have changed is read again whole, never patched: the states of every profile whose
   consent or links changed, the births and places of every identity of which some was recorded.
3. An erasure, or another declaration of places and births, empties it.
4. What was given out is never changed afterwards: sets are replaced, not altered.
5. Of what is sealed it keeps places and, of minors alone, the latest day of birth; in memory, inside the
   gate.
"""

from __future__ import annotations

import threading
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date

import msgspec
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from cdp.clock import Micros
from cdp.consent import ConsentLedger, Standings
from cdp.gate import queries
from cdp.gate.ages import of_age
from cdp.gate.told import Said, Telling, Told
from cdp.store import Connection, read_head

_MANY = 200_000
"""From so many changed profiles on, everything is read anew."""


class Known(msgspec.Struct, frozen=True):
    """What is known of everybody at one commit.

    :param places: places recorded of one identity → profiles that have such an identity.
    :param births: the latest day of birth that one of its identities leaves possible, of each profile that
        was not surely of age when it was read.
    """

    standings: Standings
    places: Mapping[Said, BitMap]
    births: Mapping[int, date]

    def minors(self, now: Micros) -> BitMap:
        """Return the profiles of which somebody ever said what only a minor may be."""
        last = of_age(now)
        return BitMap(no for no, day in self.births.items() if day > last)


class Population:
    """Keeps what is known of everybody; one for a process."""

    def __init__(self, ledger: ConsentLedger, told: Told) -> None:
        self._ledger = ledger
        self._told = told
        self._lock = threading.Lock()
        self._telling = Telling()
        self._epoch = self._position = -1
        self._profile_of = np.zeros(0, np.int64)  # by identity_no; 0 where there is nobody
        self._recorded: dict[Said, BitMap] = {}  # identities
        self._places: dict[Said, BitMap] = {}  # profiles
        self._born: dict[int, date] = {}  # identities
        self._births: dict[int, date] = {}  # profiles
        self._adults = date.min  # the last day of birth of whom nothing is kept
        self._standings: dict[str, Standings] = {}

    def at(self, connection: Connection, purpose: str, telling: Telling, now: Micros) -> Known | None:
        """Return what is known at the snapshot of ``connection``; None when we are past it.

        :param telling: the traits that tell of places and ages.
        """
        head, epoch = read_head(connection)
        with self._lock:
            if epoch != self._epoch or self._telling != telling:
                self._forget(epoch)
                self._telling = telling
            if self._position > head:
                return None
            if self._position < 0:
                self._load(connection, now)
            else:
                if self._position < head:
                    self._advance(connection, now)
                if of_age(now) < self._adults:  # the clock ran ahead: some count as minors again
                    self._read_births(connection, None, now)
            self._position = head
            if purpose not in self._standings:
                self._standings = {
                    **self._standings,
                    purpose: self._ledger.standings(connection, purpose),
                }
            return Known(self._standings[purpose], self._places, self._births)

    def _forget(self, epoch: int) -> None:
        self._epoch, self._position = epoch, -1
        self._profile_of = np.zeros(0, np.int64)
        self._recorded, self._places, self._standings = {}, {}, {}

    def _load(self, connection: Connection, now: Micros) -> None:
        self._place_members(queries.memberships(connection, None))
        self._recorded = _sets(self._told.places(connection, None, self._telling))
        self._map_places()
        self._read_births(connection, None, now)

    def _read_births(self, connection: Connection, spoken: BitMap | None, now: Micros) -> None:
        """Read again how old these identities may be, or everybody, and say it of their profiles."""
        last = of_age(now)
        self._adults = last if spoken is None else max(last, self._adults)
        read = self._told.births(connection, spoken, self._telling)
        kept = {} if spoken is None else {no: day for no, day in self._born.items() if no not in spoken}
        self._born = {**kept, **{no: day for no, day in read.items() if day > last}}
        found: dict[int, date] = {}
        for number, day in self._born.items():
            if number < len(self._profile_of):
                profile_no = int(self._profile_of[number])
                found[profile_no] = max(day, found.get(profile_no, day))
        self._births = found

    def _advance(self, connection: Connection, now: Micros) -> None:
        since = self._position
        moved = queries.relinked_since(connection, since)
        spoken = queries.spoken_since(connection, since, self._telling.names)
        changed = self._ledger.changed_since(connection, since)
        if len(moved) + len(changed) > _MANY:
            self._forget(self._epoch)
            self._load(connection, now)
            return
        self._place_members(queries.memberships(connection, moved))
        kept_places = {said: people - spoken for said, people in self._recorded.items()}
        added = _sets(self._told.places(connection, spoken, self._telling))
        self._recorded = {
            said: kept_places.get(said, BitMap()) | added.get(said, BitMap())
            for said in kept_places.keys() | added.keys()
        }
        if moved or spoken:
            self._map_places()
            self._read_births(connection, spoken, now)
        # a profile bears the number of one of its identities, so those moved name all that came and went
        again = moved | changed
        self._standings = {
            purpose: held.replaced(again, self._ledger.standings(connection, purpose, again))
            for purpose, held in self._standings.items()
        }

    def _place_members(self, members: NDArray[np.int64]) -> None:
        """Note (identity_no, profile_no) pairs."""
        if not len(members):
            return
        top = int(members[:, 0].max()) + 1
        if top > len(self._profile_of):
            grown = np.zeros(top + top // 4, np.int64)
            grown[: len(self._profile_of)] = self._profile_of
            self._profile_of = grown
        self._profile_of[members[:, 0]] = members[:, 1]

    def _map_places(self) -> None:
        self._places = {place: self._profiles_of(numbers) for place, numbers in self._recorded.items()}

    def _profiles_of(self, identities: BitMap) -> BitMap:
        numbers = np.array(identities.to_array(), np.int64)
        profiles = np.unique(self._profile_of[numbers[numbers < len(self._profile_of)]])
        return BitMap(array("I", profiles[profiles > 0].astype(np.uint32).tobytes()))


def gather(
    connection: Connection,
    ledger: ConsentLedger,
    told: Told,
    purpose: str,
    telling: Telling,
    members: Mapping[int, Sequence[int]],
) -> Known:
    """Return what is known of a few people, read from the store.

    :param members: profile_no → its identity numbers.
    """
    profile_of = {number: profile_no for profile_no, numbers in members.items() for number in numbers}
    places: dict[Said, BitMap] = defaultdict(BitMap)
    for number, said in told.places(connection, profile_of, telling).items():
        places[said].add(profile_of[number])
    births: dict[int, date] = {}
    for number, day in told.births(connection, profile_of, telling).items():
        profile_no = profile_of[number]
        births[profile_no] = max(day, births.get(profile_no, day))
    return Known(ledger.standings(connection, purpose, members), places, births)


def _sets(said: Mapping[int, Said]) -> dict[Said, BitMap]:
    """Return places → the identities of which just these were recorded."""
    numbers: dict[Said, array[int]] = {}
    for number, places in said.items():
        numbers.setdefault(places, array("I")).append(number)
    return {places: BitMap(found) for places, found in numbers.items()}
