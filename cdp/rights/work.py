"""The work on requests, in the background.

``advance`` may be called by any process at any time. A request's work is held for a minute by whoever took
it; where that process dies, another one takes it up after that. What a fulfiller does can be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from cdp.clock import SECOND, Clock
from cdp.errors import ConflictError
from cdp.rights import queries
from cdp.rights.model import Denied, Fulfilled, Fulfiller, RequestKind, RequestState, RightsRequest
from cdp.rights.steps import Steps
from cdp.store import Committer

log = structlog.get_logger()
LEASE = 60 * SECOND
_AT_A_TURN = 20


class Work:
    """Has the fulfillers work, and records what came of it."""

    def __init__(
        self, committer: Committer, steps: Steps, clock: Clock, fulfillers: Mapping[RequestKind, Fulfiller]
    ) -> None:
        self._committer = committer
        self._steps = steps
        self._clock = clock
        self._fulfillers = fulfillers

    def advance(self) -> int:
        """Work on what is in progress and nobody holds; returns how many requests came to their end."""
        with self._committer.store.reading() as connection:
            now = self._clock.now()
            waiting = queries.free(connection, sorted(self._fulfillers), now, LEASE, _AT_A_TURN)
        return sum(self._work(request) for request in waiting)

    def _work(self, request: RightsRequest) -> bool:
        with self._committer.batch() as batch:
            if not queries.take(batch.connection, request, self._clock.now(), LEASE):
                return False
        try:
            # of somebody whom nobody knows nothing is held, so there is nothing to do
            done = self._fulfillers[request.kind](request) if request.known else Fulfilled()
        except Exception as error:  # noqa: BLE001  # one that fails must not stop the others; it is tried again
            log.warning("a request could not be worked on", kind=request.kind, error=type(error).__name__)
            return False
        if done is None:
            with self._committer.batch() as batch:
                queries.let_go(batch.connection, request, 0)
            return False
        try:
            if isinstance(done, Denied):
                self._end(request, "rights.deny", "denied", {"reason": done.reason})
            else:
                self._end(request, "rights.fulfil", "fulfilled", {"result": done.result})
        except ConflictError:  # denied or taken back meanwhile
            return False
        return True

    def _end(self, request: RightsRequest, action: str, state: RequestState, said: dict[str, Any]) -> None:
        """End a request; one whose work has begun may still be denied by that work."""
        self._steps.move("system", action, request.request_id, state, within=lambda _, __: said, forced=True)
