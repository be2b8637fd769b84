"""Requests of people about their data."""

from __future__ import annotations

import msgspec
import strawberry
from strawberry.scalars import JSON

from cdp.api.auth import roles
from cdp.api.graphql.guard import Context, declared, guarded
from cdp.api.graphql.paging import Connection, connection, page_size
from cdp.api.graphql.profiles import IdentifierInput
from cdp.api.paging import page_of
from cdp.api.rest.rights import PURPOSE, open_as_officer, request_cursor, request_position, rights_request
from cdp.errors import InvalidInputError
from cdp.rights import KINDS, Wanted
from cdp.rights import RightsRequest as Request

Info = strawberry.Info[Context, None]
_OFFICER = roles("officer")


@declared(_OFFICER)
@strawberry.type
class RightsRequest:
    """One request of a person about their data."""

    id: strawberry.ID
    kind: str
    state: str
    since: str
    channel: str
    known: bool
    profile: strawberry.ID | None
    purpose: str | None
    regulation: str | None
    external_id: str | None
    opened_at: str
    submitted_at: str
    acknowledge_by: str | None
    due_at: str
    extended: bool
    due: str | None
    reminder: int | None
    reason: str | None
    result: JSON


@strawberry.input
class RightsRequestFilter:
    """Which requests.

    ``due`` (ok, soon, late): how urgent those are that have not ended.
    """

    state: str | None = None
    kind: str | None = None
    due: str | None = None


@strawberry.input
class RightsRequestInput:
    """What somebody asks for; ``verified``: an officer's word that this is the person."""

    identifier: IdentifierInput
    kind: str
    purpose: str = ""
    verified: bool = True


@strawberry.type
class RightsQuery:
    """Queries on requests."""

    @guarded(_OFFICER)
    def rights_requests(
        self,
        info: Info,
        filter: RightsRequestFilter | None = None,  # noqa: A002  # the contract's name
        first: int | None = None,
        after: str | None = None,
    ) -> Connection[RightsRequest]:
        """List requests, newest first."""
        caller, size = info.context.caller, page_size(first)
        caller.state(PURPOSE)
        wanted = _wanted(filter or RightsRequestFilter())
        found = info.context.services.rights.page(caller.actor, size + 1, request_cursor(after), wanted)
        page = page_of(found, size, PURPOSE, request_position)
        return connection(page, after, PURPOSE, request_position, lambda one: _request(info, one))


@strawberry.type
class RightsMutation:
    """Opening a request."""

    @guarded(_OFFICER)
    def open_rights_request(self, info: Info, input: RightsRequestInput) -> RightsRequest:  # noqa: A002  # the contract's name
        """Open a request on behalf of a person."""
        caller = info.context.caller
        caller.state(PURPOSE)
        if input.kind not in KINDS:
            raise InvalidInputError(f"kind is one of {', '.join(KINDS)}")
        services, identifier = info.context.services, (input.identifier.type, input.identifier.value)
        services.asking.take(caller.actor, info.context.address)
        made = open_as_officer(
            services, caller, identifier, input.kind, input.purpose, checked=input.verified
        )
        return _request(info, made)


def _wanted(given: RightsRequestFilter) -> Wanted:
    values = {"state": given.state, "kind": given.kind, "due": given.due}
    try:
        return msgspec.convert(values, Wanted)
    except msgspec.ValidationError:
        raise InvalidInputError("there is no such state, kind or urgency of requests") from None


def _request(info: Info, request: Request) -> RightsRequest:
    return RightsRequest(**rights_request(info.context.services, request))
