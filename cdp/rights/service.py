"""Opening and reading requests.

Invariants: a request belongs to one identity, the one that was verified; it is recorded with that
person as its subject in the transaction that stores it; reading it is a use for the purpose ``rights``,
which nothing restrains, and is recorded too.

A restriction or an objection acts at once (GDPR Art. 18 and 21): the transaction that opens the request
restrains each topmost of the purposes that may be restrained and do not rest on contract or legal obligation
alone: those below one that does, too. It does so again where a request is open already, for what was lifted
since.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from cdp.audit import Entry
from cdp.clock import Clock, Micros
from cdp.consent import RecordState, Statement
from cdp.errors import NotFoundError
from cdp.identity import IdentityService
from cdp.policy import Bundle, lineage
from cdp.rights import queries
from cdp.rights.acts import Acts
from cdp.rights.deadline import due_at
from cdp.rights.model import Channel, RequestKind, RightsRequest
from cdp.store import Batch, Committer, Connection, retrying

PURPOSE = "rights"
CONTROLLER = "controller"
_AT_ONCE: dict[RequestKind, RecordState] = {"restriction": "restricted", "objection": "objected"}
_METHODS: dict[Channel, str] = {"preference_page": "preference_page", "officer": "rights_request"}
_OWED = {"contract", "legal_obligation"}


class RightsService:
    """Requests of people about their data.

    :param policy: returns the policies in force.
    """

    def __init__(
        self,
        committer: Committer,
        identity: IdentityService,
        acts: Acts,
        clock: Clock,
        policy: Callable[[], Bundle],
    ) -> None:
        self._committer = committer
        self._identity = identity
        self._acts = acts
        self._clock = clock
        self._policy = policy

    def open(
        self,
        actor: str,
        identity_no: int,
        kind: RequestKind,
        channel: Channel,
        *,
        language: str = "",
        evidence: bytes | None = None,
    ) -> RightsRequest:
        """Open a request of one verified identity; an open one of the same kind is returned instead.

        :param language: in which it was asked for; ``evidence`` of what restrains at once.
        :raises NotFoundError: there is no such identity.
        """
        return retrying(lambda: self._open(actor, identity_no, kind, channel, language, evidence))

    def open_for(self, actor: str, identifier: tuple[str, str], kind: RequestKind) -> RightsRequest:
        """Open a request for whoever has an identifier (type, value), on an officer's word.

        :raises InvalidInputError: the identifier type is not declared.
        :raises NotFoundError: nobody has it; the attempt is on record.
        """
        with self._committer.batch() as batch:
            found = self._identity.find(batch.connection, *identifier)
            if found is None:
                batch.record(_entry("rights.open", actor, (), {"kind": kind}, failed=True))
        if found is None:
            raise NotFoundError("nobody has this identifier")
        return self.open(actor, found, kind, "officer")

    def _open(
        self,
        actor: str,
        identity_no: int,
        kind: RequestKind,
        channel: Channel,
        language: str,
        evidence: bytes | None,
    ) -> RightsRequest:
        bundle = self._policy()
        with self._committer.batch() as batch:
            connection = batch.connection
            self._identity.profile_of(connection, identity_no)  # refuses who is not there
            self._identity.lock(connection, [identity_no])  # a second click waits here
            if kind in _AT_ONCE:
                said = self._restraints(bundle, _AT_ONCE[kind], _METHODS[channel], language, evidence)
                self._acts.say(batch, identity_no, said, actor)
            for known in queries.of_identity(connection, identity_no):
                if known.kind == kind and known.state in {"received", "identity_check", "in_progress"}:
                    batch.record(_entry("rights.open", actor, (identity_no,), _about(known)))
                    return known
            now = self._clock.now()
            request = RightsRequest(
                request_id="r_" + secrets.token_hex(12),
                identity_no=identity_no,
                kind=kind,
                channel=channel,
                opened_at=now,
                due_at=due_at(now, bundle.rights.deadlines.get(kind, {}).values()),
                state="received",
                state_at=now,
            )
            queries.add_request(connection, batch.id, request)
            batch.record(_entry("rights.open", actor, (identity_no,), _about(request)))
        return request

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
                subjects = tuple(dict.fromkeys(request.identity_no for request in found))
                batch.record(_entry(action, actor, subjects, {}))
            return found

        return retrying(run)


def _about(request: RightsRequest) -> dict[str, str | int]:
    return {
        "request": request.request_id,
        "kind": request.kind,
        "channel": request.channel,
        "state": request.state,
    }


def _entry(
    action: str, actor: str, subjects: tuple[int, ...], said: dict[str, str | int], *, failed: bool = False
) -> Entry:
    return Entry(
        action=action,
        actor=actor,
        outcome="failed" if failed else "allowed",
        purpose=PURPOSE,
        destination=CONTROLLER,
        object=said,
        subjects=subjects,
    )
