"""How a request moves on.

Invariants: a step is taken from the one that was read, or not at all: of two that race one wins and the other
is told so. A request's times never run backwards, whatever the clock does. Each step is on record, with the
person as its subject, and told to ``on_change``, in the transaction that takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.errors import ConflictError, NotFoundError
from cdp.rights import queries
from cdp.rights.model import TRANSITIONS, RequestState, RightsRequest
from cdp.store import Batch, Committer, retrying

PURPOSE = "rights"
CONTROLLER = "controller"
Listener = Callable[[Batch, RightsRequest], None]
_FINAL_ONCE_BEGUN = frozenset({"erasure"})


class Steps:
    """Takes the steps of requests.

    ``on_change`` is called with each step, the first one included.
    """

    def __init__(self, committer: Committer, clock: Clock) -> None:
        self._committer = committer
        self._clock = clock
        self.on_change: list[Listener] = []

    def start(self, batch: Batch, actor: str, request: RightsRequest) -> None:
        """Store a request."""
        queries.add_request(batch.connection, batch.id, request)
        batch.record(entry("rights.open", actor, request.identity_nos, about(request)))
        self._tell(batch, request)

    def move(
        self,
        actor: str,
        action: str,
        request_id: str,
        state: RequestState,
        *,
        reason: str = "",
        result: dict[str, str | int] | None = None,
    ) -> RightsRequest:
        """Take a step in a transaction of its own.

        :raises NotFoundError: there is no such request.
        :raises ConflictError: it does not lead there from where the request stands, or not any more.
        """

        def run() -> RightsRequest:
            with self._committer.batch() as batch:
                known = queries.find(batch.connection, request_id)
                if known is None:
                    raise NotFoundError("there is no such request")
                if state not in TRANSITIONS[known.state]:
                    raise ConflictError(f"the request is {known.state}")
                if known.begun and known.kind in _FINAL_ONCE_BEGUN and state in {"denied", "cancelled"}:
                    raise ConflictError("its work has begun and cannot be undone")
                moved = self.step(batch, known, state, reason=reason, result=result or {})
                batch.record(entry(action, actor, moved.identity_nos, about(moved)))
                return moved

        return retrying(run)

    def step(
        self,
        batch: Batch,
        known: RightsRequest,
        state: RequestState,
        *,
        reason: str = "",
        result: dict[str, str | int] | None = None,
    ) -> RightsRequest:
        """Take a step that is known to be allowed; the caller records it.

        :raises ConflictError: somebody was faster.
        """
        moved = msgspec.structs.replace(
            known,
            state=state,
            state_at=max(self._clock.now(), known.state_at),
            step=known.step + 1,
            reason=reason,
            result=result or {},
        )
        if not queries.move(batch.connection, batch.id, moved):
            raise ConflictError("the request has moved on meanwhile")
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
