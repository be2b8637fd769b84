"""Requests of people about their data, as officers see them.

The routes *are* the purpose: a caller's key must carry ``rights``, and nothing else is stated.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody

from cdp.api.auth import allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, checked_limit, decode_cursor, page_of
from cdp.api.rest.identifiers import IdentifierBody
from cdp.api.services import Services
from cdp.clock import Micros, rfc3339
from cdp.rights import RequestKind, RightsRequest

PURPOSE = "rights"
_OFFICER = allow("officer")


class RequestBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody asks for, who was verified to have an identifier."""

    identifier: IdentifierBody
    kind: RequestKind


@post("/rights/requests", opt=_OFFICER, sync_to_thread=True)
def open_request(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[RequestBody]
) -> dict[str, Any]:
    """Open a request on behalf of a person; an open one of the same kind is answered instead."""
    caller.state(PURPOSE)
    identifier = (data.identifier.type, data.identifier.value)
    return rights_request(services, services.rights.open_for(caller.actor, identifier, data.kind))


@get("/rights/requests", opt=_OFFICER, sync_to_thread=True)
def list_requests(
    services: InjectedServices,
    caller: InjectedCaller,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List requests, newest first."""
    caller.state(PURPOSE)
    before = request_cursor(cursor)
    found = services.rights.page(caller.actor, checked_limit(limit) + 1, before)
    page = page_of(found, limit, PURPOSE, request_position)
    return Page([rights_request(services, request) for request in page.items], page.next)


@get("/rights/requests/{request_id:str}", opt=_OFFICER, sync_to_thread=True)
def read_request(
    services: InjectedServices, caller: InjectedCaller, request_id: FromPath[str]
) -> dict[str, Any]:
    """Show a request."""
    caller.state(PURPOSE)
    return rights_request(services, services.rights.find(caller.actor, request_id))


def request_cursor(cursor: str | None) -> tuple[Micros, str] | None:
    """Return the place that a cursor of this list names."""
    at = decode_cursor(PURPOSE, cursor, int, str)
    return None if at is None else (at[0], at[1])


def request_position(request: RightsRequest) -> tuple[Micros, str]:
    """Return the place of a request in the list."""
    return request.opened_at, request.request_id


def rights_request(services: Services, request: RightsRequest) -> dict[str, Any]:
    """Return a request as REST shows it."""
    return {
        "id": request.request_id,
        "kind": request.kind,
        "state": request.state,
        "since": rfc3339(request.state_at),
        "channel": request.channel,
        "profile": services.profile_ids.encode(request.identity_no),
        "opened_at": rfc3339(request.opened_at),
        "due_at": rfc3339(request.due_at),
    }


HANDLERS = [open_request, list_requests, read_request]
