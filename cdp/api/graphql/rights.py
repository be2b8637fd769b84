"""Requests of people about their data."""

from __future__ import annotations

import strawberry

from cdp.api.auth import roles
from cdp.api.graphql.guard import Context, declared, guarded
from cdp.api.graphql.paging import Connection, connection, page_size
from cdp.api.graphql.profiles import IdentifierInput
from cdp.api.paging import page_of
from cdp.api.rest.rights import PURPOSE, request_cursor, request_position, rights_request
from cdp.errors import InvalidInputError
from cdp.rights import KINDS
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
    profile: strawberry.ID
    opened_at: str
    due_at: str


@strawberry.input
class RightsRequestFilter:
    """Which requests."""

    state: str | None = None


@strawberry.input
class RightsRequestInput:
    """What somebody asks for, who was verified to have an identifier."""

    identifier: IdentifierInput
    kind: str


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
        state = None if filter is None else filter.state
        found = info.context.services.rights.page(caller.actor, size + 1, request_cursor(after), state=state)
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
        identifier = (input.identifier.type, input.identifier.value)
        return _request(info, info.context.services.rights.open_for(caller.actor, identifier, input.kind))


def _request(info: Info, request: Request) -> RightsRequest:
    return RightsRequest(**rights_request(info.context.services, request))
