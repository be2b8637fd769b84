"""Opening requests, and the verbs that move them on.

Invariants: a request belongs to one identity, the one that was named, and it is recorded with that person as
its subject in the transaction that stores it; where the kind binds at once, that is in there, too, and again
where the same request is open already, for what was lifted since.

Somebody who is not verified learns nothing: a request for an identifier that nobody has is stored, answered
and checked like any other (``ask``), and to them it stands at its identity check whatever became of it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from cdp.access import Source
from cdp.clock import DAY, Clock, Micros
from cdp.crypto import Keyring
from cdp.errors import ConflictError, NotFoundError
from cdp.identity import IdentityService
from cdp.policy import Bundle
from cdp.rights import queries
from cdp.rights.acts import Acts
from cdp.rights.correct import Correction
from cdp.rights.deadline import due_at, period_end
from cdp.rights.model import (
    NOBODY,
    Channel,
    CheckMethod,
    DenialReason,
    ExtensionReason,
    Fulfiller,
    RequestKind,
    RequestState,
    RightsRequest,
)
from cdp.rights.proofs import NAMED, Proofs
from cdp.rights.reading import Reading
from cdp.rights.restrain import AT_ONCE, Restraints, restrained
from cdp.rights.steps import Listener, Steps, about, entry
from cdp.rights.work import Work
from cdp.store import Batch, Committer, Connection, retrying

BY_HAND: frozenset[RequestKind] = frozenset({"rectification"})
_EXPIRED_AT_A_TURN = 100


class RightsService(Reading):
    """Requests of people about their data.

    :param policy: returns the policies in force.
    :param places: returns the jurisdictions of the person of an identity.
    :param fulfillers: what does the work of a kind; a kind without one waits for an officer's ``complete``.

    :param correct: as ``Corrections.record``.

    ``on_change`` is called with each step of a request, the first one included, in its transaction.
    """

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        identity: IdentityService,
        acts: Acts,
        clock: Clock,
        policy: Callable[[], Bundle],
        places: Callable[[Connection, int], Iterable[str]],
        fulfillers: Mapping[RequestKind, Fulfiller],
        correct: Callable[[str, str, Sequence[Correction]], RightsRequest],
    ) -> None:
        super().__init__(committer, clock)
        self.correct = correct
        self._identity = identity
        self._policy = policy
        self._places = places
        self.proofs = Proofs(committer, keyring, clock)
        self._restraints = Restraints(acts, clock, policy)
        self._steps = Steps(committer, clock, self.proofs.end)
        self._fulfillers = fulfillers
        self._work = Work(committer, self._steps, clock, fulfillers)
        self.on_change = self._steps.on_change

    # -- opening --------------------------------------------------------------------------------

    def open(
        self,
        actor: str,
        identity_no: int,
        kind: RequestKind,
        channel: Channel,
        *,
        verified: bool = True,
        others: Sequence[int] = (),
        regulation: str = "",
        external_id: str = "",
        submitted_at: Micros | None = None,
        purpose: str = "",
        language: str = "",
        evidence: bytes | None = None,
        also: Listener | None = None,
    ) -> RightsRequest:
        """Open a request of one identity; the same one that stands where this would is returned instead.

        :param identity_no: 0 for somebody who is not known: such a request is made each time.
        :param verified: that whoever asks is that person; else an identity check comes first.
        :param others: further identities that were named.
        :param external_id: a request that is called so is one of its own, whatever else is open.
        :param submitted_at: when the person asked, where somebody else passed it on: no later than now.
        :param purpose: what an objection is to; empty for all that can be objected to.
        :param language: in which it was asked for; ``evidence`` of what restrains at once.
        :param also: called with a request that is new, in the transaction that stores it.
        :raises NotFoundError: there is no such identity.
        :raises InvalidInputError: nobody can object to the purpose.
        """
        named = tuple(dict.fromkeys(number for number in (identity_no, *others) if number))

        def run() -> RightsRequest:
            request = self._new(identity_no, named, kind, channel, purpose, submitted_at)
            request = msgspec.structs.replace(request, regulation=regulation, external_id=external_id)
            with self._committer.batch() as batch:
                return self._open(batch, actor, request, None, verified, language, evidence, also)

        return retrying(run)

    def open_for(
        self, actor: str, identifier: tuple[str, str], kind: RequestKind, purpose: str = ""
    ) -> RightsRequest:
        """Open a request for whoever has an identifier (type, value), on an officer's word.

        :raises InvalidInputError: the identifier type is not declared, or nobody can object to the purpose.
        :raises NotFoundError: nobody has it; the attempt is on record.
        """
        with self._committer.batch() as batch:
            found = self._identity.find(batch.connection, *identifier)
            if found is None:
                batch.record(entry("rights.open", actor, (), {"kind": kind}, failed=True))
        if found is None:
            raise NotFoundError("nobody has this identifier")
        return self.open(actor, found, kind, "officer", purpose=purpose)

    def ask(
        self,
        actor: str,
        source: Source | None,
        identifier: tuple[str, str],
        kind: RequestKind,
        *,
        purpose: str = "",
        language: str = "",
    ) -> RightsRequest:
        """Open a request of somebody who says that an identifier is theirs; who has it is checked later.

        The same steps are taken whether anybody has it: what was named is kept for the check, sealed, and who
        asks for the same again while that lasts gets the same request.

        :param source: who passes it on; None for an officer.
        :raises InvalidInputError: the identifier type is not declared, or nobody can object to the purpose.
        """
        with self._committer.store.reading() as connection:
            (indexes,) = self._identity.indexes_of(connection, [identifier], source)
        content = msgspec.json.encode({"type": identifier[0], "value": identifier[1]})
        digest = hashlib.sha256(b"\0".join([b"".join(sum(indexes, ())), kind.encode(), purpose.encode()]))
        asked = digest.digest()[:16] if indexes else secrets.token_bytes(16)
        channel: Channel = "officer" if source is None else "source"

        def run() -> RightsRequest:
            with self._committer.store.reading() as connection:
                before = queries.asked_before(connection, asked)
            request_id = _new_id()
            keep = None if before else self.proofs.sealing(request_id, NAMED, content)
            with self._committer.batch() as batch:
                found = self._identity.find(batch.connection, *identifier, source)
                named = () if found is None else (found,)
                request = self._new(found or NOBODY, named, kind, channel, purpose, None)
                request = msgspec.structs.replace(request, request_id=request_id)
                opened = self._open(batch, actor, request, asked, False, language, None)
                if opened.request_id == request_id:
                    if keep is None:
                        raise ConflictError("the request has moved on meanwhile; ask again")
                    keep(batch)
                return opened

        return retrying(run)

    def _new(
        self,
        identity_no: int,
        named: tuple[int, ...],
        kind: RequestKind,
        channel: Channel,
        purpose: str,
        submitted_at: Micros | None,
    ) -> RightsRequest:
        now = self._clock.now()
        return RightsRequest(
            request_id=_new_id(),
            identity_no=identity_no,
            identity_nos=named,
            kind=kind,
            channel=channel,
            opened_at=now,
            submitted_at=now if submitted_at is None else min(submitted_at, now),
            due_at=now,
            state="received",
            state_at=now,
            purpose=purpose,
        )

    def _open(
        self,
        batch: Batch,
        actor: str,
        request: RightsRequest,
        asked: bytes | None,
        verified: bool,  # noqa: FBT001  # of a method of its own
        language: str,
        evidence: bytes | None,
        also: Listener | None = None,
    ) -> RightsRequest:
        connection, following = batch.connection, _following(verified=verified)
        for number in request.identity_nos:
            self._identity.profile_of(connection, number)  # refuses who is not there
        if request.identity_nos:
            self._identity.lock(connection, request.identity_nos)  # a second click waits here
        if request.kind in AT_ONCE or request.purpose:
            restrained(self._policy(), request)  # refuses what cannot be objected to, whoever asks
        self._restraints.bind(batch, actor, request, verified=verified, language=language, evidence=evidence)
        if known := self._known(connection, request, following, asked):
            batch.record(entry("rights.open", actor, known.identity_nos, about(known)))
            return known
        request = msgspec.structs.replace(
            request,
            due_at=self._due(connection, request, verified=verified),
            acknowledge_by=self._acknowledge_by(connection, request, verified=verified),
            waiting=request.kind in BY_HAND,
        )
        self._steps.start(batch, actor, request, asked)
        if also is not None:
            also(batch, request)
        return self._steps.step(batch, request, following)

    def _known(
        self, connection: Connection, request: RightsRequest, state: RequestState, asked: bytes | None
    ) -> RightsRequest | None:
        if asked is not None:
            return queries.asked_before(connection, asked)
        if not request.known or request.external_id:
            return None
        same = request.kind, request.purpose, "", state
        for known in queries.of_identity(connection, request.identity_no):
            if (known.kind, known.purpose, known.external_id, known.state) == same:
                return known
        return None

    # -- dates ----------------------------------------------------------------------------------

    def _laws(self, connection: Connection, request: RightsRequest, *, verified: bool) -> Iterable[str]:
        """Return the jurisdictions that bind: of somebody who may be anybody, all that there are."""
        if verified and request.known:
            return self._places(connection, request.identity_no)
        return self._policy().jurisdictions.configured

    def _due(
        self, connection: Connection, request: RightsRequest, *, verified: bool, extended: bool = False
    ) -> Micros:
        rights = self._policy().rights
        binding = rights.binding(request.kind, self._laws(connection, request, verified=verified))
        return due_at(request.submitted_at, binding, rights.time_zone, extended=extended)

    def _acknowledge_by(self, connection: Connection, request: RightsRequest, *, verified: bool) -> Micros:
        rights = self._policy().rights
        laws = self._laws(connection, request, verified=verified)
        periods = [rights.acknowledgements[name] for name in laws if name in rights.acknowledgements]
        ends = [period_end(request.submitted_at, period, rights.time_zone) for period in periods]
        return min(ends, default=0)

    # -- moving on ------------------------------------------------------------------------------

    def verify(self, actor: str, request_id: str, method: CheckMethod) -> RightsRequest:
        """Record that whoever asked is who they say, and how that was seen: the work begins.

        From here on the deadline is that of the laws that bind this person.

        :raises NotFoundError: there is no such request.
        :raises ConflictError: it does not wait for an identity check.
        """

        def within(batch: Batch, known: RightsRequest) -> dict[str, Any]:
            if known.known:
                self._restraints.confirm(batch, actor, known)
            due = self._due(batch.connection, known, verified=True, extended=known.extended)
            return {"reason": method, "due_at": max(due, known.due_at)}

        return self._steps.move(actor, "rights.verify", request_id, "in_progress", within=within)

    def deny(self, actor: str, request_id: str, reason: DenialReason) -> RightsRequest:
        """Deny a request.

        :raises NotFoundError: there is no such request.
        :raises ConflictError: it has ended, or cannot be stopped any more.
        """
        said = {"reason": reason}
        return self._steps.move(actor, "rights.deny", request_id, "denied", within=lambda _, __: said)

    def cancel(self, actor: str, request_id: str) -> RightsRequest:
        """Take a request back, as the person wishes.

        :raises NotFoundError: there is no such request.
        :raises ConflictError: it has ended, or cannot be stopped any more.
        """
        return self._steps.move(actor, "rights.cancel", request_id, "cancelled")

    def complete(self, actor: str, request_id: str, result: dict[str, str | int]) -> RightsRequest:
        """Record that a request is met, of a kind that no fulfiller works on.

        :raises NotFoundError: there is no such request.
        :raises ConflictError: it is not in progress, or the platform works on it.
        """

        def within(_: Batch, known: RightsRequest) -> dict[str, Any]:
            if known.kind in self._fulfillers and not known.waiting:
                raise ConflictError("the platform does the work of this kind itself")
            return {"result": result, "waiting": False}

        return self._steps.move(actor, "rights.fulfil", request_id, "fulfilled", within=within)

    def extend(self, actor: str, request_id: str, reason: ExtensionReason) -> RightsRequest:
        """Put off by when a request is answered, as far as every law that binds allows; tell the person now.

        :raises NotFoundError: there is no such request.
        :raises ConflictError: it has ended, was extended, is late, or a law that binds allows no extension.
        """

        def until(batch: Batch, known: RightsRequest) -> Micros:
            checked = known.state == "in_progress"
            return self._due(batch.connection, known, verified=checked, extended=True)

        return self._steps.extend(actor, request_id, reason, until)

    def lift(self, actor: str, request_id: str, told_at: Micros) -> None:
        """Lift what a request restrained, after the person was told (GDPR Art. 18(3)).

        Of a restriction that has ended, and of an objection that turned out to be nobody's: the person's own
        objection is the person's to lift.

        :raises NotFoundError: there is no such request.
        :raises ConflictError: it restrains nobody, has not ended, or is the person's own objection.
        """

        def run() -> None:
            with self._committer.batch() as batch:
                known = queries.find(batch.connection, request_id, lock=True)
                if known is None:
                    raise NotFoundError("there is no such request")
                if known.kind not in AT_ONCE or not known.known:
                    raise ConflictError("the request restrains nobody")
                if known.state not in {"denied", "cancelled", "expired", "fulfilled"}:
                    raise ConflictError(f"the request is {known.state}")
                if known.kind == "objection" and known.state == "fulfilled":
                    raise ConflictError("an objection is lifted by the person's own word")
                self._restraints.lift(batch, actor, known, told_at)
                batch.record(entry("rights.lift", actor, known.identity_nos, about(known)))

        retrying(run)

    # -- in the background ----------------------------------------------------------------------

    def advance(self) -> int:
        """Work on what is in progress, end checks that nobody finished; returns how many requests ended."""
        self.proofs.forget()
        before = self._clock.now() - self._policy().rights.identity_check_days * DAY
        with self._committer.store.reading() as connection:
            over = queries.unchecked(connection, before, _EXPIRED_AT_A_TURN)
        for request_id in over:
            try:
                self._steps.move("system", "rights.expire", request_id, "expired")
            except ConflictError:  # finished meanwhile
                continue
        return len(over) + self._work.advance()


def _following(*, verified: bool) -> RequestState:
    return "in_progress" if verified else "identity_check"


def _new_id() -> str:
    return "r_" + secrets.token_hex(12)
