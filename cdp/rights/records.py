"""Ends the records of requests: each is kept for as long as ``rights.yaml`` says, and no longer.

Invariants: an open request stays; so does one that restrains somebody who is known, for its id lifts that,
and one of somebody on whom a legal hold stands. The log still says that there was one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from cdp.audit import Entry
from cdp.clock import DAY, Clock
from cdp.policy import Bundle
from cdp.rights import queries
from cdp.rights.steps import PURPOSE
from cdp.store import Committer, Connection, retrying

_AT_ONCE = 500
ForgetRequests = Callable[[Connection, Sequence[str]], None]
"""Deletes what a stage above keeps of requests."""


class Records:
    """The records of requests that have ended.

    :param policy: returns the policies in force.
    :param holds: returns the legal holds that stand on any of some identities.
    :param forgets: called in the transaction that deletes.
    """

    def __init__(
        self,
        committer: Committer,
        policy: Callable[[], Bundle],
        holds: Callable[[Connection, Iterable[int]], Sequence[object]],
        clock: Clock,
        forgets: Sequence[ForgetRequests],
    ) -> None:
        self._committer = committer
        self._policy = policy
        self._holds = holds
        self._clock = clock
        self._forgets = (*forgets, queries.forget)

    def forget(self) -> int:
        """Delete the records whose time is over; returns how many."""
        days = self._policy().rights.keep_requests_days
        if not days:  # nothing is said of them
            return 0
        before = self._clock.now() - days * DAY
        with self._committer.store.reading() as connection:
            over = [
                request_id
                for request_id, numbers in queries.ended_before(connection, before)
                if not self._holds(connection, numbers)
            ]
        for start in range(0, len(over), _AT_ONCE):
            retrying(partial(self._delete, over[start : start + _AT_ONCE]))
        return len(over)

    def _delete(self, request_ids: Sequence[str]) -> None:
        with self._committer.batch() as batch:
            for one in self._forgets:
                one(batch.connection, request_ids)
            counts = {"requests": len(request_ids)}
            batch.record(Entry(action="rights.forget", actor="system", purpose=PURPOSE, counts=counts))
