"""Opening and reading requests.

Invariants: a request belongs to one identity, the one that was verified; it is recorded with that
person as its subject in the transaction that stores it; reading it is a use for the purpose ``rights``,
which nothing restrains, and is recorded too.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from cdp.audit import Entry
from cdp.clock import Clock, Micros
from cdp.errors import NotFoundError
from cdp.identity import IdentityService
from cdp.policy import Rights
from cdp.rights import queries
from cdp.rights.deadline import due_at
from cdp.rights.model import Channel, RequestKind, RightsRequest
from cdp.store import Batch, Committer, Connection, retrying

PURPOSE = "rights"
CONTROLLER = "controller"


class RightsService:
    """Requests of people about their data.

    :param policy: returns the deadlines in force.
    """

    def __init__(
        self,
        committer: Committer,
        identity: IdentityService,
        clock: Clock,
        policy: Callable[[], Rights],
    ) -> None:
        self._committer = committer
        self._identity = identity
        self._clock = clock
        self._policy = policy

    def open(self, actor: str, identity_no: int, kind: RequestKind, channel: Channel) -> RightsRequest:
        """Open a request of one verified identity; an open one of the same kind is returned instead.

        :raises NotFoundError: there is no such identity.
        """
        return retrying(lambda: self._open(actor, identity_no, kind, channel))

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

    def _open(self, actor: str, identity_no: int, kind: RequestKind, channel: Channel) -> RightsRequest:
        with self._committer.batch() as batch:
            connection = batch.connection
            self._identity.profile_of(connection, identity_no)  # refuses who is not there
            self._identity.lock(connection, [identity_no])  # a second click waits here
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
                due_at=due_at(now, self._policy().deadlines.get(kind, {}).values()),
                state="received",
                state_at=now,
            )
            queries.add_request(connection, batch.id, request)
            batch.record(_entry("rights.open", actor, (identity_no,), _about(request)))
        return request

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
