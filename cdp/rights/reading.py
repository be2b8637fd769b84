"""Reading requests: a use for the purpose ``rights``, which nothing restrains, and on record."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cdp.clock import Clock, Micros
from cdp.errors import NotFoundError
from cdp.rights import queries
from cdp.rights.model import RightsRequest, Step, Wanted
from cdp.rights.steps import entry
from cdp.store import Batch, Committer, Connection, retrying

Told = tuple[str, str, str, bool]
"""(destination, purpose, kind of message, acknowledged)."""


class Reading:
    """Shows requests to officers."""

    def __init__(self, committer: Committer, clock: Clock) -> None:
        self._committer = committer
        self._clock = clock

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

    def steps(self, request_id: str) -> list[Step]:
        """Return the steps of a request, in order; the caller records the use."""
        with self._committer.store.reading() as connection:
            return queries.steps(connection, request_id)

    def told(self, request_id: str) -> list[Told]:
        """Return who was told of a request, by message; the caller records the use."""
        with self._committer.store.reading() as connection:
            return queries.told(connection, request_id)

    def page(
        self,
        actor: str,
        limit: int,
        before: tuple[Micros, str] | None = None,
        wanted: Wanted = Wanted(),  # noqa: B008  # frozen
    ) -> Sequence[RightsRequest]:
        """Return requests, newest first; ``before`` names the last one of the page before."""

        def read(batch: Batch) -> list[RightsRequest]:
            return queries.page(batch.connection, limit, before, wanted, self._clock.now())

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
                subjects = dict.fromkeys(number for request in found for number in request.identity_nos)
                batch.record(entry(action, actor, tuple(subjects), {}))
            return found

        return retrying(run)
