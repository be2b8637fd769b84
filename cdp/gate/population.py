"""What is known of everybody, kept in memory and brought up to date with the commits.

A permission is worked out for a few people from the store, and for many from here: reading a million
standings, places and memberships takes seconds, reading what changed since the last time milliseconds.
``facts.py`` reads either way, and a property test holds the two equal.

Invariants:

1. ``_position`` is the commit up to which everything here was read. It is brought to exactly the head of the
   caller's snapshot; a snapshot older than it gets nothing and reads from the store.
2. Whatever a commit may have changed is read again whole, never patched: the states of every profile whose
   consent or links changed, the births and places of every one of which some was recorded.
3. An erasure, or another declaration of places and births, empties it.
4. What was given out is never changed afterwards: sets are replaced, not altered.
5. Of what is sealed it keeps places and, of minors alone, the day of birth; in memory, inside the gate.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from cdp.clock import Micros
from cdp.consent import ConsentLedger, Standings
from cdp.gate import queries
from cdp.store import Connection, read_head

_MANY = 200_000
"""From so many changed profiles on, everything is read anew."""

Kinds = frozenset[tuple[str, str]]
"""(trait, kind of place that it records: ``country`` or ``state``)."""


class Said(NamedTuple):
    """Every place ever recorded of one identity."""

    countries: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()

    def plus(self, kind: str, value: str) -> Said:
        """Return these places and one more."""
        if kind == "state":
            return Said(self.countries, self.states | {value})
        return Said(self.countries | {value}, self.states)


NOWHERE = Said()

Places = Callable[[Connection, Iterable[int] | None, Kinds], dict[int, Said]]
"""Returns identity_no → its places, of these identities or of everybody, from traits of these names."""
Births = Callable[[Connection, Iterable[int], frozenset[str], Micros], dict[int, date]]
"""Returns profile_no → day of birth, of those now minors among these profiles, from traits of these names."""


class Known(msgspec.Struct, frozen=True):
    """What is known of everybody at one commit.

    :param places: places recorded of one identity → profiles that have such an identity.
    :param births: day of birth of each profile that was a minor when it was read.
    """

    standings: Standings
    places: Mapping[Said, BitMap]
    births: Mapping[int, date]


class Population:
    """Keeps what is known of everybody; one for a process."""

    def __init__(self, ledger: ConsentLedger, places: Places, births: Births) -> None:
        self._ledger = ledger
        self._read_places = places
        self._read_births = births
        self._lock = threading.Lock()
        self._declared: tuple[Kinds, frozenset[str]] = (frozenset(), frozenset())
        self._epoch = self._position = -1
        self._profile_of = np.zeros(0, np.int64)  # by identity_no; 0 where there is nobody
        self._recorded: dict[Said, BitMap] = {}  # identities
        self._places: dict[Said, BitMap] = {}  # profiles
        self._births: dict[int, date] = {}
        self._standings: dict[str, Standings] = {}

    def at(
        self, connection: Connection, purpose: str, places: Kinds, births: frozenset[str], now: Micros
    ) -> Known | None:
        """Return what is known at the snapshot of ``connection``; None when we are past it.

        :param places: the traits that record a place, by name; ``births`` those that record a birth.
        """
        head, epoch = read_head(connection)
        with self._lock:
            if epoch != self._epoch or self._declared != (places, births):
                self._forget(epoch)
                self._declared = places, births
            if self._position > head:
                return None
            if self._position < 0:
                self._load(connection, now)
            elif self._position < head:
                self._advance(connection, now)
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
        self._recorded, self._places, self._births, self._standings = {}, {}, {}, {}

    def _load(self, connection: Connection, now: Micros) -> None:
        self._place_members(queries.memberships(connection, None))
        self._recorded = _sets(self._read_places(connection, None, self._declared[0]))
        self._map_places()
        born = queries.observed(connection, self._declared[1])
        self._births = self._read_births(connection, self._profiles_of(born), self._declared[1], now)

    def _advance(self, connection: Connection, now: Micros) -> None:
        since = self._position
        moved = queries.relinked_since(connection, since)
        spoken = queries.spoken_since(connection, since, self._names())
        changed = self._ledger.changed_since(connection, since)
        if len(moved) + len(changed) > _MANY:
            self._forget(self._epoch)
            self._load(connection, now)
            return
        self._place_members(queries.memberships(connection, moved))
        kept_places = {said: people - spoken for said, people in self._recorded.items()}
        added = _sets(self._read_places(connection, spoken, self._declared[0]))
        self._recorded = {
            said: kept_places.get(said, BitMap()) | added.get(said, BitMap())
            for said in kept_places.keys() | added.keys()
        }
        if moved or spoken:
            self._map_places()
        # a profile bears the number of one of its identities, so those moved name all that came and went
        touched = moved | self._profiles_of(spoken)
        kept = {no: day for no, day in self._births.items() if no not in touched}
        self._births = {**kept, **self._read_births(connection, touched, self._declared[1], now)}
        again = touched | changed
        self._standings = {
            purpose: held.replaced(again, self._ledger.standings(connection, purpose, again))
            for purpose, held in self._standings.items()
        }

    def _names(self) -> frozenset[str]:
        kinds, births = self._declared
        return births | {name for name, _ in kinds}

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


def _sets(said: Mapping[int, Said]) -> dict[Said, BitMap]:
    """Return places → the identities of which just these were recorded."""
    numbers: dict[Said, array[int]] = {}
    for number, places in said.items():
        numbers.setdefault(places, array("I")).append(number)
    return {places: BitMap(found) for places, found in numbers.items()}
