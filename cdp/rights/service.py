"""Opening, reading and moving on of requests.

Invariants: a request belongs to one identity, the one that was named; it is recorded with that person as its
subject in the transaction that stores it; reading it is a use for the purpose ``rights``, which nothing
restrains, and is recorded too.

A restriction or an objection acts at once (GDPR Art. 18 and 21): the transaction that opens the request
restrains each topmost of the purposes that may be restrained and do not rest on contract or legal obligation
alone: those below one that does, too. It does so again where a request is open already, for what was lifted
since.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence

from cdp.clock import Clock, Micros
from cdp.consent import RecordState, Statement
from cdp.errors import NotFoundError
from cdp.identity import IdentityService
from cdp.policy import Bundle, lineage
from cdp.rights import queries
from cdp.rights.acts import Acts
from cdp.rights.deadline import due_at
from cdp.rights.model import NOBODY, OPEN, Channel, Fulfiller, RequestKind, RequestState, RightsRequest
from cdp.rights.steps import Listener, Steps, about, entry
from cdp.rights.work import Work
from cdp.store import Batch, Committer, Connection, retrying

_AT_ONCE: dict[RequestKind, RecordState] = {"restriction": "restricted", "objection": "objected"}
_OWED = {"contract", "legal_obligation"}


class RightsService:
    """Requests of people about their data.

    :param policy: returns the policies in force.
    :param fulfillers: what does the work of a kind; a kind without one waits for an officer's ``complete``.

    ``advance`` works on what is in progress. ``on_change`` is called with each step of a request, the first
    one included, in its transaction.
    """

    def __init__(
        self,
        committer: Committer,
        identity: IdentityService,
        acts: Acts,
        clock: Clock,
        policy: Callable[[], Bundle],
        fulfillers: Mapping[RequestKind, Fulfiller],
    ) -> None:
        self._committer = committer
        self._identity = identity
        self._acts = acts
        self._clock = clock
        self._policy = policy
        self._steps = Steps(committer, clock)
        self.on_change = self._steps.on_change
        self.advance = Work(committer, self._steps, clock, fulfillers).advance

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
        """Open a request of one identity; an open one of the same kind is returned instead.

        :param identity_no: 0 for somebody who is not known: such a request is made each time.
        :param verified: that whoever asks is that person; else an identity check comes first.
        :param others: further identities that were named.
        :param external_id: a request that is called so is one of its own, whatever else is open.
        :param submitted_at: when the person asked, where somebody else passed it on: no later than now.
        :param purpose: what an objection is to; empty for all that can be objected to.
        :param language: in which it was asked for; ``evidence`` of what restrains at once.
        :param also: called with a request that is new, in the transaction that stores it.
        :raises NotFoundError: there is no such identity.
        """

        def run() -> RightsRequest:
            now = self._clock.now()
            asked = now if submitted_at is None else min(submitted_at, now)
            deadlines = self._policy().rights.deadlines.get(kind, {}).values()
            request = RightsRequest(
                request_id="r_" + secrets.token_hex(12),
                identity_no=identity_no,
                identity_nos=tuple(dict.fromkeys(number for number in (identity_no, *others) if number)),
                kind=kind,
                channel=channel,
                opened_at=now,
                submitted_at=asked,
                due_at=due_at(asked, deadlines),
                state="received",
                state_at=now,
                regulation=regulation,
                external_id=external_id,
                purpose=purpose,
            )
            following: RequestState = "in_progress" if verified else "identity_check"
            return self._open(actor, request, following, language, evidence, also)

        return retrying(run)

    def open_for(self, actor: str, identifier: tuple[str, str], kind: RequestKind) -> RightsRequest:
        """Open a request for whoever has an identifier (type, value), on an officer's word.

        :raises InvalidInputError: the identifier type is not declared.
        :raises NotFoundError: nobody has it; the attempt is on record.
        """
        with self._committer.batch() as batch:
            found = self._identity.find(batch.connection, *identifier)
            if found is None:
                batch.record(entry("rights.open", actor, (), {"kind": kind}, failed=True))
        if found is None:
            raise NotFoundError("nobody has this identifier")
        return self.open(actor, found, kind, "officer")

    def _open(
        self,
        actor: str,
        request: RightsRequest,
        following: RequestState,
        language: str,
        evidence: bytes | None,
        also: Listener | None,
    ) -> RightsRequest:
        bundle = self._policy()
        with self._committer.batch() as batch:
            connection = batch.connection
            for number in request.identity_nos:
                self._identity.profile_of(connection, number)  # refuses who is not there
            if request.identity_nos:
                self._identity.lock(connection, request.identity_nos)  # a second click waits here
            if request.kind in _AT_ONCE:
                method = "preference_page" if request.channel == "preference_page" else "rights_request"
                said = self._restraints(bundle, _AT_ONCE[request.kind], method, language, evidence)
                for number in request.identity_nos:
                    self._acts.say(batch, number, said, actor)
            if known := self._known(connection, request):
                batch.record(entry("rights.open", actor, known.identity_nos, about(known)))
                return known
            self._steps.start(batch, actor, request)
            if also is not None:
                also(batch, request)
            return self._steps.step(batch, request, following)

    def _known(self, connection: Connection, request: RightsRequest) -> RightsRequest | None:
        if request.identity_no == NOBODY or request.external_id:
            return None
        same = request.kind, request.purpose, ""
        for known in queries.of_identity(connection, request.identity_no):
            if known.state in OPEN and (known.kind, known.purpose, known.external_id) == same:
                return known
        return None

    def _restraints(
        self, bundle: Bundle, state: RecordState, method: str, language: str, evidence: bytes | None
    ) -> list[Statement]:
        now = self._clock.now()
        open_to = {
            key
            for key, purpose in bundle.purposes.items()
            if purpose.restrainable and not set(purpose.basis.values()) <= _OWED
        }
        return [
            Statement(
                purpose=key,
                state=state,
                act=True,
                event_time=now,
                language=language,
                method=method,
                evidence=evidence,
            )
            for key in sorted(open_to)
            if open_to.isdisjoint(lineage(key)[1:])
        ]

    # -- moving on ------------------------------------------------------------------------------

    def verify(self, actor: str, request_id: str) -> RightsRequest:
        """Record that whoever asked is who they say: the work begins.

        :raises NotFoundError: there is no such request.
        :raises ConflictError: it does not wait for an identity check.
        """
        return self._steps.move(actor, "rights.verify", request_id, "in_progress")

    def deny(self, actor: str, request_id: str, reason: str) -> RightsRequest:
        """Deny a request; ``reason`` is a code.

        :raises NotFoundError: there is no such request.
        :raises ConflictError: it has ended, or cannot be stopped any more.
        """
        return self._steps.move(actor, "rights.deny", request_id, "denied", reason=reason)

    def cancel(self, actor: str, request_id: str) -> RightsRequest:
        """Take a request back, as the person wishes.

        :raises NotFoundError: there is no such request.
        :raises ConflictError: it has ended, or cannot be stopped any more.
        """
        return self._steps.move(actor, "rights.cancel", request_id, "cancelled")

    def complete(self, actor: str, request_id: str, result: dict[str, str | int]) -> RightsRequest:
        """Record that a request is met, of a kind that no fulfiller works on.

        :raises NotFoundError: there is no such request.
        :raises ConflictError: it is not in progress.
        """
        return self._steps.move(actor, "rights.fulfil", request_id, "fulfilled", result=result)

    # -- reading --------------------------------------------------------------------------------

    def find(self, actor: str, request_id: str) -> RightsRequest:
        """Return one request.

        :raises NotFoundError: there is none.
        """

        def read(batch: Batch) -> list[RightsRequest]:
            found = queries.find(batch.connection, request_id)
            return [] if found is None else [found]

        found = self._read(actor, "rights.read", read)
        if not found:
            raise NotFoundError("there is no such request")
        return found[0]

    def page(
        self,
        actor: str,
        limit: int,
        before: tuple[Micros, str] | None = None,
        *,
        state: str | None = None,
    ) -> Sequence[RightsRequest]:
        """Return requests, newest first; ``before`` names the last one of the page before.

        :param state: only those that stand there now.
        """

        def read(batch: Batch) -> list[RightsRequest]:
            return queries.page(batch.connection, limit, before, state)

        return self._read(actor, "rights.list", read)

    def of_identity(self, connection: Connection, identity_no: int) -> list[RightsRequest]:
        """Return the requests of one identity, newest first; the caller records the use."""
        return queries.of_identity(connection, identity_no)

    def _read(
        self, actor: str, action: str, read: Callable[[Batch], list[RightsRequest]]
    ) -> list[RightsRequest]:
        def run() -> list[RightsRequest]:
            with self._committer.batch() as batch:
                found = read(batch)
                subjects = tuple(
                    dict.fromkeys(number for request in found for number in request.identity_nos)
                )
                batch.record(entry(action, actor, subjects, {}))
            return found

        return retrying(run)
