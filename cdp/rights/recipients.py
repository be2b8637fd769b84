"""Telling recipients (GDPR Art. 19): those that hold the person, under the references that they received.

A restriction or an objection is a recall of what may not be held any more; a rectification a correction to
whoever was given one of the fields. Which messages told of a request is recorded as they are stored; whether
a recipient has done what they say is its acknowledgement of them (``docs/recalls.md``).

``restrained`` and ``rectified`` are the fulfillers of their kinds. What binds has bound long before:
fulfilled means that everybody was told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from pyroaring import BitMap

from cdp.clock import SECOND, Clock, rfc3339
from cdp.errors import InvalidInputError
from cdp.export import Outbox, Sent
from cdp.gate import Gate
from cdp.identity import IdentityService
from cdp.policy import Bundle, lineage
from cdp.rights import queries
from cdp.rights.deadline import period_end
from cdp.rights.model import Fulfilled, RightsRequest
from cdp.rights.restrain import restrained
from cdp.store import Batch, Committer, Connection

_PATIENCE = 3600 * SECOND
"""After it, whoever still holds the person may: what restrained was lifted again."""


class Recipients:
    """Tells them, and knows who was told.

    :param places: returns the jurisdictions of the person of an identity.
    """

    def __init__(
        self,
        committer: Committer,
        outbox: Outbox,
        gate: Gate,
        identity: IdentityService,
        clock: Clock,
        policy: Callable[[], Bundle],
        places: Callable[[Connection, int], Collection[str]],
    ) -> None:
        self._store = committer.store
        self._outbox = outbox
        self._gate = gate
        self._identity = identity
        self._clock = clock
        self._policy = policy
        self._places = places
        outbox.on_issue.append(self._sent)

    def restrained(self, request: RightsRequest) -> Fulfilled | None:
        """Have whoever may not hold the person any more told so."""
        self._outbox.issue()
        with self._store.reading() as connection:
            members = self._members(connection, [request.identity_no])
            held = self._gate.deliveries.held(connection, BitMap(members))
            barred = self._barred(request)
            still = any(not barred.isdisjoint(lineage(audience.purpose)) for audience, _ in held)
            if still and self._clock.now() < request.state_at + _PATIENCE:
                return None
            return self._done(connection, request)

    def _barred(self, request: RightsRequest) -> set[str]:
        """Return the topmost purposes of a request; none where policies do not know its purpose any more."""
        try:
            return set(restrained(self._policy(), request))
        except InvalidInputError:
            return set()

    def rectified(self, request: RightsRequest) -> Fulfilled | None:
        """Have whoever was given what is corrected fetch it again."""
        with self._store.reading() as connection:
            traits = queries.corrected(connection, request.request_id)
            members = self._members(connection, [request.identity_no])
        self._outbox.correct(members, frozenset(traits))
        with self._store.reading() as connection:
            return self._done(connection, request, corrected=len(traits))

    def _done(self, connection: Connection, request: RightsRequest, **said: int) -> Fulfilled:
        told = queries.told(connection, request.request_id)
        result: dict[str, str | int] = {
            **said,
            "recipients": len({destination for destination, _, _, _ in told}),
            "messages": len(told),
        }
        if request.kind == "objection" and (until := self._no_asking(connection, request)):
            result["no_asking_until"] = until
        return Fulfilled(result=result)

    def _no_asking(self, connection: Connection, request: RightsRequest) -> str:
        """Return until when the person is not asked to agree again; empty where no law says so."""
        rights = self._policy().rights
        laws = self._places(connection, request.identity_no)
        periods = [rights.no_asking[name] for name in laws if name in rights.no_asking]
        ends = [period_end(request.opened_at, period, rights.time_zone) for period in periods]
        return rfc3339(max(ends)) if ends else ""

    def _sent(self, batch: Batch, sent: Sequence[Sent]) -> None:
        """Record which requests messages tell of, in the batch that stores them."""
        anchors = {anchor for _, people in sent for anchor in people}
        members = self._members(batch.connection, anchors)
        found = queries.in_progress_of(batch.connection, members)
        if not found:
            return
        profile_of = self._identity.profiles_of(batch.connection, [*anchors, *(no for _, no in found)])
        rows = [
            (request_id, message.message_id)
            for message, people in sent
            for request_id, number in found
            if profile_of.get(number, number) in {profile_of.get(anchor, anchor) for anchor in people}
        ]
        queries.add_told(batch.connection, batch.id, rows)

    def _members(self, connection: Connection, numbers: Collection[int]) -> list[int]:
        """Return the identities of the people of some identities."""
        profiles = set(self._identity.profiles_of(connection, numbers).values())
        return [number for one in sorted(profiles) for number in self._identity.members(connection, one)]
