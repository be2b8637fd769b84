"""The register of legal holds: what must not be deleted while a claim, an audit or an authority asks for it.

Invariants: a hold is placed and lifted by an officer, for a reason of a closed list and with a reference to
the file elsewhere that says more; both acts are on record, with the person as subject. It keeps data, and
permits no use of it: a person who is restrained stays so. It covers everybody who is one person with its
identity when it is asked.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.errors import ConflictError, InvalidInputError, NotFoundError
from cdp.identity import IdentityService
from cdp.policy import Bundle
from cdp.rights.retention import queries
from cdp.rights.retention.model import EVERYBODY, Hold, HoldReason
from cdp.store import Batch, Committer, Connection, retrying

PURPOSE = "rights"
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9./-]{0,59}")


class LegalHolds:
    """Places, lifts and asks holds.

    :param policy: returns the policies in force.
    """

    def __init__(
        self, committer: Committer, identity: IdentityService, clock: Clock, policy: Callable[[], Bundle]
    ) -> None:
        self._committer = committer
        self._identity = identity
        self._clock = clock
        self._policy = policy

    def place(
        self,
        actor: str,
        identifier: tuple[str, str] | None,
        categories: Iterable[str],
        reason: HoldReason,
        reference: str,
    ) -> Hold:
        """Place a hold on whoever has an identifier (type, value), or on everybody.

        :param categories: of which data, with all below; all of it when there are none.
        :raises InvalidInputError: a category is not declared, or the reference is no such text.
        :raises NotFoundError: nobody has the identifier; the attempt is on record.
        """
        wanted = tuple(sorted(set(categories))) or ("user",)
        unknown = sorted(set(wanted) - self._policy().categories.keys())
        if unknown:
            raise InvalidInputError("a category of this hold is not declared in policies/taxonomy.yaml")
        if not _REFERENCE.fullmatch(reference):
            raise InvalidInputError("a reference has 1 to 60 letters, digits, dots, dashes and slashes")
        placed = retrying(lambda: self._place(actor, identifier, wanted, reason, reference))
        if placed is None:
            raise NotFoundError("nobody has this identifier")
        return placed

    def _place(
        self,
        actor: str,
        identifier: tuple[str, str] | None,
        categories: tuple[str, ...],
        reason: HoldReason,
        reference: str,
    ) -> Hold | None:
        with self._committer.batch() as batch:
            found = None if identifier is None else self._identity.find(batch.connection, *identifier)
            if identifier is not None and found is None:
                self._record(batch, "hold.place", actor, None)
                return None
            hold = Hold(
                hold_id="h_" + secrets.token_hex(8),
                identity_no=found or EVERYBODY,
                categories=categories,
                reason=reason,
                reference=reference,
                placed_by=actor,
                placed_at=self._clock.now(),
            )
            queries.add_hold(batch.connection, batch.id, hold)
            self._record(batch, "hold.place", actor, hold)
            return hold

    def lift(self, actor: str, hold_id: str) -> Hold:
        """End a hold: what it kept beyond its period goes with the next run.

        :raises NotFoundError: there is none of this id.
        :raises ConflictError: it is lifted already.
        """

        def run() -> Hold:
            with self._committer.batch() as batch:
                found = queries.find_hold(batch.connection, hold_id)
                if found is None:
                    raise NotFoundError("there is no legal hold with this id")
                if not queries.lift_hold(batch.connection, hold_id, self._clock.now()):
                    raise ConflictError("this legal hold is lifted already")
                self._record(batch, "hold.lift", actor, found)
                return found

        retrying(run)
        with self._committer.store.reading() as connection:
            lifted = queries.find_hold(connection, hold_id)
        if lifted is None:
            raise NotFoundError("there is no legal hold with this id")
        return lifted

    def register(self, actor: str, *, standing: bool) -> list[Hold]:
        """Return the register, the newest first; reading it is on record."""

        def run() -> list[Hold]:
            with self._committer.batch() as batch:
                found = queries.holds(batch.connection, standing=standing)
                concerned = {hold.identity_no for hold in found} - {EVERYBODY}
                batch.record(
                    Entry(action="hold.list", actor=actor, purpose=PURPOSE, subjects=tuple(sorted(concerned)))
                )
            return found

        return retrying(run)

    @staticmethod
    def on(connection: Connection, identity_nos: Iterable[int]) -> list[Hold]:
        """Return the holds that stand on any of these identities, or on everybody.

        :param identity_nos: all of one person.
        """
        return queries.standing_on(connection, identity_nos)

    @staticmethod
    def _record(batch: Batch, action: str, actor: str, hold: Hold | None) -> None:
        said: dict[str, str | int] = {}
        if hold is not None:
            said = {"hold": hold.hold_id, "reason": hold.reason, "categories": ",".join(hold.categories)}
        concerned = () if hold is None or hold.identity_no == EVERYBODY else (hold.identity_no,)
        batch.record(
            Entry(
                action=action,
                actor=actor,
                outcome="failed" if hold is None else "allowed",
                purpose=PURPOSE,
                object=said,
                subjects=concerned,
            )
        )
