"""What was known of people at an earlier commit, for explanations of then and for replays.

Reproduced as they were: the records of consent and what follows from them at that instant, recorded places,
ages. Which identities and links a profile had is reproduced from the history of links, or taken from what an
export keeps of its people (``replay/record.py``), as are the members of its segment and who stood on a black
list: lists are replaced as a whole, and the newest evaluation of a segment replaces the one before.
``LIMITS`` names by code what an explanation without such a record lacks; what was erased is gone either way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from cdp.clock import Clock, Micros
from cdp.consent import ConsentLedger, Member, Record, Standing, Standings
from cdp.crypto import Keyring
from cdp.policy import Bundle, Purpose
from cdp.store import Connection

ERASED = "erased_facts_missing"
LIMITS = ("black_lists_as_of_now", "segment_members_not_kept", ERASED)


class LedgerThen(ConsentLedger):
    """The ledger as it answered at a commit, about some profiles at a time (``about``).

    :param at: the instant at which age is reckoned.
    """

    def __init__(self, keyring: Keyring, bundle: Bundle, clock: Clock, commit_no: int, at: Micros) -> None:
        super().__init__(keyring, bundle, clock)
        self._commit_no = commit_no
        self._at = at
        self._members: Mapping[int, Sequence[Member]] = {}
        self._records: Mapping[int, Sequence[Record]] = {}
        self._confirmed: dict[tuple[str, str], NDArray[np.int64]] = {}

    def about(self, connection: Connection, members: Mapping[int, Sequence[Member]]) -> None:
        """Answer about these profiles from now on.

        :param members: profile_no → its members as it was.
        """
        self._members = members
        self._records = self._told(connection, members, self._commit_no)

    def states(
        self,
        connection: Connection,  # noqa: ARG002  # what ``about`` read answers
        purpose: str,
        among: Collection[int] | None = None,
    ) -> dict[int, Standing]:
        """Return profile_no → state of one purpose then."""
        nos = self._members if among is None else among
        return {no: self._standing(purpose, no, self._records) for no in nos}

    def standings(
        self, connection: Connection, purpose: str, among: Iterable[int] | None = None
    ) -> Standings:
        """Return the same as columns."""
        return Standings.gather(self.states(connection, purpose, None if among is None else list(among)))

    def ever(self, states: Collection[str]) -> BitMap:
        """Return the profiles of which one of these states was ever recorded, of whatever purpose."""
        return BitMap(
            no for no, told in self._records.items() if any(record.state in states for record in told)
        )

    def at(
        self, connection: Connection, purpose: str, profiles: BitMap, commit_no: int
    ) -> dict[int, Standing]:
        """Return profile_no → state of one purpose as of a later commit."""
        records = self._told(connection, {no: self._members[no] for no in profiles}, commit_no)
        return {no: self._standing(purpose, no, records) for no in profiles}

    def later(
        self, connection: Connection, purposes: Iterable[str], profiles: BitMap, commit_no: int
    ) -> list[int]:
        """Return the profiles of which the state of a purpose is another one as of a later commit."""
        records = self._told(connection, {no: self._members[no] for no in profiles}, commit_no)
        return [
            no
            for no in profiles
            if any(
                self._standing(purpose, no, self._records) != self._standing(purpose, no, records)
                for purpose in purposes
            )
        ]

    def confirmed(
        self, connection: Connection, purpose: Purpose, recipient: str, upto: int | None = None
    ) -> NDArray[np.int64]:
        """Return the confirmed grants of then; they are of everybody, so they are read once."""
        asked = purpose.key, recipient
        if asked not in self._confirmed:
            self._confirmed[asked] = ConsentLedger.confirmed(connection, purpose, recipient, upto)
        return self._confirmed[asked]

    def _standing(self, purpose: str, no: int, records: Mapping[int, Sequence[Record]]) -> Standing:
        return self.rules.standing(purpose, self._members.get(no, ()), records.get(no, ()), self._at)

    def _told(
        self, connection: Connection, members: Mapping[int, Sequence[Member]], commit_no: int
    ) -> dict[int, list[Record]]:
        """Return profile_no → what was recorded of it up to a commit."""
        owner = {member.identity_no: no for no, profile in members.items() for member in profile}
        found: dict[int, list[Record]] = defaultdict(list)
        for record in self.decisive(connection, owner, commit_no):
            found[owner[record.identity_no]].append(record)
        return dict(found)
