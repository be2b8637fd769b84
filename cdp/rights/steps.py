"""How a request moves on.

Invariants: a step is taken from the one that was read, or not at all: of two that race one wins and the other
is told so. A request's times never run backwards, whatever the clock does. Each step is on record, with the
person as its subject, and told to ``on_change``, in the transaction that takes it. The step that ends an
identity check destroys what it looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cdp.audit import Entry
from cdp.clock import Clock, Micros
from cdp.errors import ConflictError, NotFoundError
from cdp.rights import queries
from cdp.rights.model import TRANSITIONS, RequestState, RightsRequest
from cdp.store import Batch, Committer, retrying

PURPOSE = "rights"
CONTROLLER = "controller"
Listener = Callable[[Batch, RightsRequest], None]
Within = Callable[[Batch, RightsRequest], None]
_FINAL_ONCE_BEGUN = frozenset({"erasure"})


class Steps:
    """Takes the steps of requests.

    :param checked: called with a request whose identity check ends, in the batch in which it does.

    ``on_change`` is called with each step, the first one included.
    """

    def __init__(self, committer: Committer, clock: Clock, checked: Within) -> None:
        self._committer = committer
        self._clock = clock
        self._checked = checked
        self.on_change: list[Listener] = []

    def start(self, batch: Batch, actor: str, request: RightsRequest, asked: bytes | None) -> None:
        """Store a request."""
        queries.add_request(batch.connection, batch.id, request, asked)
        batch.record(entry("rights.open", actor, request.identity_nos, about(request)))
        self._tell(batch, request)

    def move(
        self,
        actor: str,
        action: str,
        request_id: str,
        state: RequestState,
        *,
        within: Callable[[Batch, RightsRequest], dict[str, Any]] = lambda _batch, _known: {},
        forced: bool = False,
    ) -> RightsRequest:
        """Take a step in a transaction of its own.

        :param within: does what belongs to the step; returns what else it changes of the request.
        :param forced: by the work itself, which knows whether it can be stopped.
        :raises NotFoundError: there is no such request.
        :raises ConflictError: it does not lead there from where the request stands, or not any more.
        """

        def run() -> RightsRequest:
            with self._committer.batch() as batch:
                known = queries.find(batch.connection, request_id, lock=True)
                if known is None:
                    raise NotFoundError("there is no such request")
                if state not in TRANSITIONS[known.state]:
                    raise ConflictError(f"the request is {known.state}")
                stopped = state in {"denied", "cancelled"} and not forced
                if stopped and known.begun and known.kind in _FINAL_ONCE_BEGUN:
                    raise ConflictError("its work has begun and cannot be undone")
                moved = self.step(batch, known, state, **within(batch, known))
                batch.record(entry(action, actor, moved.identity_nos, about(moved)))
                return moved

        return retrying(run)

    def extend(
        self, actor: str, request_id: str, reason: str, until: Callable[[Batch, RightsRequest], Micros]
    ) -> RightsRequest:
        """Put off by when a request is answered: once, and inside its first period (GDPR Art. 12(3)).

        :param until: returns the new instant.
        :raises NotFoundError: there is no such request.
        :raises ConflictError: it has ended, was extended, is late, or no law allows it.
        """

        def run() -> RightsRequest:
            with self._committer.batch() as batch:
                known = queries.find(batch.connection, request_id, lock=True)
                if known is None:
                    raise NotFoundError("there is no such request")
                if not TRANSITIONS[known.state]:
                    raise ConflictError(f"the request is {known.state}")
                if known.extended:
                    raise ConflictError("the request was extended already")
                if max(self._clock.now(), known.state_at) > known.due_at:
                    raise ConflictError("the request is late: an extension is told within the first period")
                due = until(batch, known)
                if due <= known.due_at:
                    raise ConflictError("a law that binds allows no extension")
                moved = self.step(batch, known, known.state, reason=reason, due_at=due, extended=True)
                batch.record(entry("rights.extend", actor, moved.identity_nos, about(moved)))
                return moved

        return retrying(run)

    def step(self, batch: Batch, known: RightsRequest, state: RequestState, **changed: Any) -> RightsRequest:
        """Take a step that is known to be allowed; the caller records it.

        :param changed: what else is new of the request; a reason is that of this step alone.
        :raises ConflictError: somebody was faster.
        """
        now = max(self._clock.now(), known.state_at)
        since = known.state_at if state == known.state else now
        said = {"reason": "", **changed, "state": state, "state_at": since, "step": known.step + 1}
        moved = msgspec.structs.replace(known, **said)
        if not queries.move(batch.connection, batch.id, moved, now):
            raise ConflictError("the request has moved on meanwhile")
        if known.state == "identity_check" != state:
            self._checked(batch, moved)
        self._tell(batch, moved)
        return moved

    def _tell(self, batch: Batch, request: RightsRequest) -> None:
        for listener in self.on_change:
            listener(batch, request)


def about(request: RightsRequest) -> dict[str, str | int]:
    """Return what an audit entry says of a request."""
    return {
        "request": request.request_id,
        "kind": request.kind,
        "channel": request.channel,
        "state": request.state,
        **({"reason": request.reason} if request.reason else {}),
    }


def entry(
    action: str, actor: str, subjects: Sequence[int], said: dict[str, str | int], *, failed: bool = False
) -> Entry:
    """Return an audit entry about the requests of ``subjects``."""
    return Entry(
        action=action,
        actor=actor,
        outcome="failed" if failed else "allowed",
        purpose=PURPOSE,
        destination=CONTROLLER,
        object=said,
        subjects=tuple(subjects),
    )
