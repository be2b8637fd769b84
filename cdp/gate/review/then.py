"""What was known of one person at an earlier commit.

Reproduced as they were: the identities and links of the profile, the records of consent and what follows
from them at that instant, recorded places, the date of birth. Not kept, and therefore taken as they are
now or left out: who stood on a black list (lists are replaced as a whole), who was in a segment (the newest
evaluation replaces the one before), what was erased since. ``LIMITS`` names these by code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from cdp.clock import Clock, Micros
from cdp.consent import ConsentLedger, Member, Standing, Standings
from cdp.crypto import Keyring
from cdp.policy import Bundle
from cdp.store import Connection

LIMITS = ("black_lists_as_of_now", "segment_members_not_kept", "erased_facts_missing")


class LedgerThen(ConsentLedger):
    """The ledger as it answered at a commit, about one profile.

    :param members: the profile as it was.
    """

    def __init__(
        self,
        keyring: Keyring,
        bundle: Bundle,
        clock: Clock,
        members: Sequence[Member],
        commit_no: int,
        at: Micros,
    ) -> None:
        super().__init__(keyring, bundle, clock)
        self._members = members
        self._commit_no = commit_no
        self._at = at

    def states(
        self, connection: Connection, purpose: str, among: Collection[int] | None = None
    ) -> dict[int, Standing]:
        """Return the one profile's state of a purpose."""
        found = self.standing_at(connection, purpose, self._members, self._commit_no, self._at)
        return dict.fromkeys(among or (), found)

    def standings(
        self, connection: Connection, purpose: str, among: Iterable[int] | None = None
    ) -> Standings:
        """Return the same as columns."""
        return Standings.gather(self.states(connection, purpose, list(among or ())))
