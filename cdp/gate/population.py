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
from collections.abc import Collection, Mapping
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
        self._standings: dict[str, Standings] = {}  # by the name they are kept under
        self._rules = ledger.rules

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
            if self._rules is not self._ledger.rules:  # under others in between, nobody kept these states
                self._rules, self._standings = self._ledger.rules, {}
            if self._position < 0:
                self._load(connection, now)
            else:
                if self._position < head:
                    self._advance(connection, now)
                if of_age(now) < self._adults:  # the clock ran ahead: some count as minors again
                    self._note_births(self._told.births(connection, None, self._telling), None, now)
            self._position = head
            rules = self._ledger.rules
            name = rules.names[purpose]
            if name not in self._standings:
                read = self._ledger.standings(connection, purpose)
                if self._ledger.rules is not rules:  # other policies came in force meanwhile
                    return None
                self._standings = {**self._standings, name: read}
            return Known(self._standings[name], self._places, self._births)

    def _forget(self, epoch: int) -> None:
        self._epoch, self._position = epoch, -1
        self._profile_of = np.zeros(0, np.int64)
        self._recorded, self._places, self._standings = {}, {}, {}

    def _load(self, connection: Connection, now: Micros) -> None:
        self._place_members(queries.memberships(connection, None))
        heard = self._told.hear(connection, None, self._telling)
        self._place(heard.places, BitMap())
        self._note_births(heard.births, None, now)

    def _note_births(self, read: Mapping[int, date], spoken: BitMap | None, now: Micros) -> None:
        """Note how old identities may be, and say it of their profiles.

        :param read: what is known of ``spoken`` now; of everybody when None.
        """
        last = of_age(now)
        self._adults = last if spoken is None else max(last, self._adults)
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
        if moved or spoken:
            self._place_members(queries.memberships(connection, moved))
            heard = self._told.hear(connection, spoken, self._telling)
            recorded = {said: people - spoken for said, people in self._recorded.items()}
            for said, people in heard.places.items():
                recorded[said] = recorded.get(said, BitMap()) | people
            self._place({said: people for said, people in recorded.items() if people}, moved)
            self._note_births(heard.births, spoken, now)
        # a profile bears the number of one of its identities, so those moved name all that came and went
        again, names = moved | changed, self._ledger.rules.names
        self._standings = {
            name: held.replaced(again, self._ledger.standings(connection, purpose, again)) if again else held
            for purpose, name in names.items()
            if (held := self._standings.get(name)) is not None
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

    def _place(self, recorded: dict[Said, BitMap], moved: BitMap) -> None:
        """Note the places of identities, and say them of their profiles.

        :param moved: identities that belong to another profile than they did.
        """
        before, self._recorded = self._recorded, recorded
        self._places = {
            said: self._places[said]
            if before.get(said) == numbers and numbers.isdisjoint(moved)
            else self._profiles_of(numbers)
            for said, numbers in recorded.items()
        }

    def _profiles_of(self, identities: BitMap) -> BitMap:
        numbers = np.array(identities.to_array(), np.int64)
        profiles = self._profile_of[numbers[numbers < len(self._profile_of)]]
        return BitMap(array("I", profiles[profiles > 0].astype(np.uint32).tobytes()))


def gather(
    connection: Connection,
    ledger: ConsentLedger,
    told: Told,
    purpose: str,
    telling: Telling,
    members: Mapping[int, Collection[int]],
) -> Known:
    """Return what is known of a few people, read from the store.

    :param members: profile_no → its identity numbers.
    """
    profile_of = {number: profile_no for profile_no, numbers in members.items() for number in numbers}
    heard = told.hear(connection, profile_of, telling)
    places = {said: BitMap(map(profile_of.__getitem__, numbers)) for said, numbers in heard.places.items()}
    births: dict[int, date] = {}
    for number, day in heard.births.items():
        profile_no = profile_of[number]
        births[profile_no] = max(day, births.get(profile_no, day))
    return Known(ledger.standings(connection, purpose, members), places, births)
