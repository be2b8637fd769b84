"""What the person behind an identity says, recorded where no identifier in clear is at hand.

Invariants: it counts as an act of that identity, verified by whoever hands it over: a grant attaches to it,
a restraint to it and everybody then in its profile. A restraint that binds already, for the identity by
itself and for its profile, says nothing new and is not recorded: a button pressed twice is one act. Only
restraints that the same hands lift are reckoned: a no outlives the restriction under which it was said.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.consent import RESTRAINING, ConsentLedger, Draft, Member, Statement, track_of
from cdp.crypto import Keyring
from cdp.identity import IdentityService
from cdp.policy import covers
from cdp.store import Batch, Committer, Connection, retrying


class Acts:
    """Takes what people say themselves to the ledger."""

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        identity: IdentityService,
        ledger: ConsentLedger,
        clock: Clock,
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._identity = identity
        self._ledger = ledger
        self._clock = clock

    def record(self, identity_no: int, statements: Sequence[Statement], actor: str = "system") -> list[int]:
        """Record acts of one identity in a transaction of their own; see ``say``."""

        def run() -> list[int]:
            with self._committer.batch() as batch:
                return self.say(batch, identity_no, statements, actor)

        return retrying(run)

    def say(self, batch: Batch, identity_no: int, statements: Sequence[Statement], actor: str) -> list[int]:
        """Record acts of one identity in a transaction at hand, which may hold no lock yet but this person's.

        :param statements: each with its purpose, state, time, method and evidence.
        :param actor: who recorded it, for the audit log.
        :returns: the new records, those of this identity first; none when nothing was news.
        :raises NotFoundError: there is no such identity.
        """
        connection = batch.connection
        self._keyring.observe_epoch(batch.epoch)
        self._identity.profile_of(connection, identity_no)  # refuses a number that nobody has
        profile_no = self._identity.lock(connection, [identity_no])[identity_no][0]
        members = self._identity.consent_members(connection, [profile_no])
        alone = [member for member in members[profile_no] if member.identity_no == identity_no]
        views = (alone, members[profile_no])
        draft = Draft(
            statements=tuple(
                msgspec.structs.replace(statement, act=True)
                for statement in statements
                if not (statement.state in RESTRAINING and self._binds(connection, statement, views))
            ),
            named=(identity_no,),
            authenticated=identity_no,
            received_at=self._clock.now(),
            source_id=0,
            source_kind="server",
            verified=True,
        )
        taken = self._ledger.append(batch, [draft], members, {identity_no: profile_no})
        self._ledger.refresh(batch, members, ())
        batch.record(
            Entry(
                action="consent.record",
                actor=actor,
                object={"statements": len(statements), "records": len(taken.records[0])},
                subjects=(identity_no,),
            )
        )
        return list(taken.records[0])

    def _binds(self, connection: Connection, restraint: Statement, views: Sequence[Sequence[Member]]) -> bool:
        """True when all below its purpose is restrained at least as much, in each of these views."""
        track = track_of(restraint.state, restraint.signal)
        enough = {"objected"} if restraint.state == "objected" else RESTRAINING
        return all(
            standing.state in enough
            for view in views
            for key, standing in self._ledger.states_of(connection, view, track).items()
            if covers(restraint.purpose, key)
            and (purpose := self._ledger.purpose(key)) is not None
            and purpose.restrainable
        )
