"""What the person behind an identity says, recorded where no identifier in clear is at hand.

Invariants: it counts as an act of that identity, verified by whoever hands it over: a grant attaches to it,
a restraint to it and everybody then in its profile. A no that binds already is recorded all the same: it
ranks when it was said, above whatever was said before it and arrives later. Only the very same act, of the
same instant, is one record.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.consent import ConsentLedger, Draft, Statement
from cdp.crypto import Keyring
from cdp.identity import IdentityService
from cdp.store import Batch, Committer, retrying


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
        draft = Draft(
            statements=tuple(msgspec.structs.replace(statement, act=True) for statement in statements),
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
