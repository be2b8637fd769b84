"""OpenDSR 2.0 over HTTP, both ways.

As processor: discovery and certificate are open; requests are for a controller's key, one of role
``destination`` that names the destination ``controller``, or an officer's, with the purpose ``rights``. What
one key asked for no other key sees. The paths of before the standard had its name are kept (section 2).

As controller: recipients call back without a key, as their signature is what counts: 202 for what was taken,
401 for a domain or certificate that is not to be believed, 400 for a signature or body that is wrong.

Every answer to somebody known is signed, over the bytes on the wire, errors too; no error holds an identity.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast
from urllib.parse import urlsplit

from litestar import Request, Response, Router, delete, get, post
from litestar.exceptions import HTTPException
from litestar.params import FromPath

from cdp.access import Principal
from cdp.api import errors
from cdp.api.auth import OPEN, Caller, allow, caller_of
from cdp.api.injected import InjectedCaller, InjectedDenials, InjectedServices
from cdp.api.request import read_within
from cdp.api.services import Services
from cdp.clock import rfc3339
from cdp.errors import InvalidInputError, NotAuthenticatedError, NotPermittedError, noted
from cdp.gate import CONTROLLER
from cdp.rights import opendsr

PURPOSE = "rights"
_PREFIXES = (
    "/v2/requests",
    "/v2/opendsr_requests",
    "/v2/opengdpr_requests",
    "/opendsr_requests",
    "/opengdpr_requests",
)
_REQUESTS = list(_PREFIXES)
_REQUEST = [f"{prefix}/{{subject_request_id:str}}" for prefix in _PREFIXES]
_CONTROLLER = allow("destination", "officer")
_JSON = "application/json"
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@get("/v2/discovery", opt=allow(OPEN), sync_to_thread=True)
def discovery(services: InjectedServices) -> Response[bytes]:
    """Say which identities and types of request are taken, and where our certificate lies."""
    return _signed(*services.opendsr.discovery())


@get(opendsr.CERTIFICATE, opt=allow(OPEN), sync_to_thread=True)
def certificate(services: InjectedServices) -> Response[bytes]:
    """Give the certificate under whose key we sign, with those that it was issued under."""
    return Response(services.opendsr.signer.certificate, media_type="application/x-pem-file")


@post(_REQUESTS, opt=_CONTROLLER, status_code=201)
async def create_request(
    request: Request[Any, Any, Any], services: InjectedServices, caller: InjectedCaller
) -> Response[bytes]:
    """Take in a request; the same one again is answered the same."""
    controller = _controller(caller)
    raw = await read_within(request, opendsr.MAX_BODY)
    return _signed(*await asyncio.to_thread(services.opendsr.take, controller, raw), status=201)


@get(_REQUEST, opt=_CONTROLLER)
async def read_status(
    services: InjectedServices, caller: InjectedCaller, subject_request_id: FromPath[str]
) -> Response[bytes]:
    """Say where a request of this controller stands."""
    controller = _controller(caller)
    return _signed(*await asyncio.to_thread(services.opendsr.standing, controller, subject_request_id))


@delete(_REQUEST, opt=_CONTROLLER, status_code=202)
async def cancel_request(
    services: InjectedServices, caller: InjectedCaller, subject_request_id: FromPath[str]
) -> Response[bytes]:
    """Take a request back that is still pending."""
    controller = _controller(caller)
    said = await asyncio.to_thread(services.opendsr.cancel, controller, subject_request_id)
    return _signed(*said, status=202)


@post("/v2/callbacks/{child_id:str}", opt=allow(OPEN), status_code=202)
async def take_callback(
    request: Request[Any, Any, Any],
    services: InjectedServices,
    denials: InjectedDenials,
    child_id: FromPath[str],
) -> Response[bytes]:
    """Take what a recipient says of a request of ours, once its signature was verified."""
    raw = await read_within(request, opendsr.MAX_BODY)
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        await asyncio.to_thread(services.opendsr_fan_out.hear, child_id, headers, raw)
    except (NotAuthenticatedError, InvalidInputError) as error:
        address = request.client.host if request.client else ""
        where = "POST /v2/callbacks"
        await asyncio.to_thread(denials.record, "anonymous", "opendsr.refused", where, address=address)
        noted(error)
        raise
    return Response(b"", media_type=_JSON)


@get("/rights/requests/{request_id:str}/opendsr", opt=allow("officer"), sync_to_thread=True)
def read_opendsr(
    services: InjectedServices, caller: InjectedCaller, request_id: FromPath[str]
) -> dict[str, Any]:
    """Show what a controller was told of a request, and where each recipient's part stands."""
    caller.state(PURPOSE)
    services.rights.find(caller.actor, request_id)
    taken, callbacks = services.opendsr.callbacks(request_id)
    now = services.clock.now()
    return {
        "controller": None
        if taken is None
        else {
            "controller_id": str(taken.key_id),
            "subject_request_id": taken.subject_request_id,
            "received_at": rfc3339(taken.received_at),
            "status": taken.reported,
            "callbacks": [
                {
                    "url": one.url_no,
                    "status": one.status,
                    "state": one.state,
                    "attempts": one.attempts,
                    "last_error": one.last_error,
                    "next_attempt_at": rfc3339(one.next_attempt_at) if one.state == "queued" else None,
                }
                for one in callbacks
            ],
        },
        "recipients": [
            {
                "destination": one.destination,
                "subject_request_id": one.child_id,
                "state": one.state,
                "since": rfc3339(one.state_at),
                "due_at": rfc3339(one.due_at),
                "late": one.late(now),
                "expected_at": None if one.expected_at is None else rfc3339(one.expected_at),
                "attempts": one.attempts,
                "last_error": one.last_error,
            }
            for one in services.opendsr_fan_out.children(request_id)
        ],
    }


@get("/opendsr", opt=allow("officer", query="opendsr.list"), sync_to_thread=True)
def overview(services: InjectedServices, caller: InjectedCaller) -> dict[str, Any]:
    """Count callbacks to controllers by state, and requests to recipients by state and lateness."""
    caller.state(PURPOSE)
    counts = services.opendsr_fan_out.counts()
    return {
        "callbacks": services.opendsr_reports.counts(),
        "recipients": [
            {"destination": destination, "state": state, "late": late, "requests": count}
            for (destination, state, late), count in sorted(counts.items())
        ],
    }


def _controller(caller: Caller) -> Principal:
    """Return the key of a controller.

    :raises NotPermittedError: it is the key of a recipient, or does not carry the purpose.
    """
    caller.state(PURPOSE)
    if not caller.has("officer") and caller.principal.destination != CONTROLLER:
        raise NotPermittedError("this needs an officer's key, or one of the destination `controller`")
    return caller.principal


def _signed(body: bytes, headers: dict[str, str], *, status: int = 200) -> Response[bytes]:
    return Response(body, status_code=status, headers=headers, media_type=_JSON)


def _refused(request: Request[Any, Any, Any], raised: Exception) -> Response[bytes]:
    """Answer an error as section 5 says; signed for whoever is known."""
    answer = errors.handle(request, raised)
    problem, services = answer.content, cast("Services", request.app.state.services)
    domain = urlsplit(services.settings.public_url).hostname or ""
    status = answer.status_code or 500
    body = opendsr.error(status, problem.detail, domain, problem.type.rpartition("/")[2])
    headers = {**answer.headers, **_HEADERS}  # which Litestar adds to no error
    if caller_of(request) is not None:
        headers |= services.opendsr_reports.headers(body)
    return _signed(body, headers, status=status)


HANDLERS = [read_opendsr, overview]
ROUTES = [
    Router(
        "/",
        route_handlers=[discovery, certificate, create_request, read_status, cancel_request, take_callback],
        response_headers=_HEADERS,
        exception_handlers={Exception: _refused, HTTPException: _refused},
    )
]
