"""What was known of one person at an earlier commit.

Reproduced as they were: the identities and links of the profile, the records of consent and what follows
from them at that instant, recorded places, the date of birth. Not kept, and therefore taken as they are
now or left out: who stood on a black list (lists are replaced as a whole), who was in a segment (the newest
evaluation replaces the one before), what was erased since. ``LIMITS`` names these by code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from cdp.access import AccessService
from cdp.clock import Clock, Micros
from cdp.consent import ConsentLedger, Member, Standing
from cdp.crypto import Keyring
from cdp.identity import IdentityService
from cdp.policy import Bundle
from cdp.profiles import Observation, ProfileService
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


class ProfilesThen(ProfileService):
    """Observations as they were at a commit, of one profile."""

    def __init__(
        self,
        identity: IdentityService,
        access: AccessService,
        bundle: Bundle,
        members: Sequence[Member],
        commit_no: int,
    ) -> None:
        super().__init__(identity, access, bundle)
        self._members = [member.identity_no for member in members]
        self._commit_no = commit_no

    def observations(
        self, connection: Connection, profile_nos: Iterable[int], names: Collection[str] | None = None
    ) -> dict[int, dict[str, Observation]]:
        """Return the one profile's surviving observations of ``names``."""
        found = self.observations_at(connection, self._members, names or (), self._commit_no)
        return dict.fromkeys(profile_nos, found)
