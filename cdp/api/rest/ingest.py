"""The Segment-compatible ingest routes.

Steps of a call: read at most the allowed bytes → parse the envelope → authenticate the write key
(header, then body) → hand the delivery to the writer → answer after the commit. The handlers are async
and only wait; one writer thread does the work. Errors answer ``{"code", "message"}``. Pages of any site may
call these routes (``cors.py``).
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any

from litestar import Request, Response, Router, post

from cdp.access import Source
from cdp.api.auth import WRITE_KEY, allow, credential_of
from cdp.api.injected import InjectedServices
from cdp.api.request import carries_gpc, read_within
from cdp.api.rest.cors import CrossOrigin
from cdp.api.services import Services
from cdp.errors import NotAuthenticatedError, NotPermittedError, UnavailableError
from cdp.ingest import Body, Delivery, read_body

_MIRROR_SECONDS = 30.0
_OK = b'{"success": true}'


@post(
    ["/identify", "/track", "/page", "/screen", "/group", "/alias"],
    opt=allow(WRITE_KEY),
    status_code=200,
)
async def single(request: Request[Any, Any, Any], services: InjectedServices) -> Response[bytes]:
    """Take one event; its type is the path's. Sent again under the same ``messageId`` it counts once."""
    return await _ingest(request, services, request.url.path.rpartition("/")[2])


@post(["/batch", "/import"], opt=allow(WRITE_KEY), status_code=200)
async def batch(request: Request[Any, Any, Any], services: InjectedServices) -> Response[bytes]:
    """Take a batch of events. Each counts once, if sent again, by its ``messageId`` alone."""
    return await _ingest(request, services, "")


async def _ingest(request: Request[Any, Any, Any], services: Services, type_: str) -> Response[bytes]:
    settings = services.settings
    raw = await read_within(request, settings.max_body_bytes)
    received_at = services.clock.now()  # a body that comes slowly is not received before its end
    body = read_body(
        raw,
        encoding=request.headers.get("content-encoding", ""),
        single=bool(type_),
        max_bytes=settings.max_body_bytes,
        max_event_bytes=settings.max_event_bytes,
        max_events=settings.max_batch_events,
    )
    source = await _authenticate(request, body, services)
    waits = request.query_params.get("wait") == "warehouse"
    if waits and source.kind == "browser":  # whose key anybody may hold; each call that waits holds a thread
        raise NotPermittedError("a browser's key does not wait for the warehouse; leave `wait` out")
    if body.messages:
        delivery = Delivery(
            source=source,
            messages=body.messages,
            received_at=received_at,
            type=type_,
            sent_at=body.sent_at,
            context=body.context,
            sec_gpc=carries_gpc(request),
        )
        with services.mirror.place() if waits else nullcontext():
            outcome = await asyncio.wrap_future(services.writer.submit(delivery))
            if waits:
                await _visible(services, outcome.commit_no)
    return Response(_OK, media_type="application/json")


async def _visible(services: Services, commit_no: int) -> None:
    """Wait until segments see a commit."""
    if not await asyncio.to_thread(services.mirror.wait_for, commit_no, _MIRROR_SECONDS):
        raise UnavailableError("stored, but the warehouse is late; the events are not lost")


async def _authenticate(request: Request[Any, Any, Any], body: Body, services: Services) -> Source:
    """Return the source of the write key in the header, else in the body.

    :raises NotAuthenticatedError: there is none, it is unknown, or the two disagree.
    """
    header = credential_of(request.headers.get("authorization", ""))
    if header and body.write_key and header != body.write_key and _is_basic(request):
        raise NotAuthenticatedError("the write key of the header and the one of the body disagree")
    write_key = body.write_key or header
    if not write_key:
        raise NotAuthenticatedError("send the source's write key as Basic user or as writeKey in the body")
    held = services.access.cached_source(write_key)
    return held if held is not None else await asyncio.to_thread(services.access.source, write_key)


def _is_basic(request: Request[Any, Any, Any]) -> bool:
    return request.headers.get("authorization", "")[:6].lower() == "basic "


HANDLERS = [Router("/v1", route_handlers=[single, batch], middleware=[CrossOrigin()])]
