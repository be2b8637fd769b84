"""The Segment-compatible ingest routes, and what Rudder's clients send beside them.

Steps of a call: read at most the allowed bytes → parse the envelope → authenticate the write key
(header, body, query: no two may disagree) → hand the delivery to the intake → answer after the commit, or
with a stream once that has it, with 200 exactly, as one client sends again what was answered otherwise. The
handlers are async and only wait; other threads do the work. Errors answer ``{"code", "message"}``; none
redirects, as clients lose what they sent by that. Pages of any site may call these routes (``cors.py``).

A write key stands in an address only where its protocol leaves no other place, and there only a browser's
counts, which is public anyway: addresses end up in logs.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any

from litestar import Request, Response, Router, post
from litestar.handlers import HTTPRouteHandler

from cdp.access import Source
from cdp.api.auth import WRITE_KEY, address_of, allow, credential_of
from cdp.api.injected import InjectedServices
from cdp.api.request import carries_gpc, read_within
from cdp.api.rest import bodies
from cdp.api.rest.capped import check_size, limits_of
from cdp.api.rest.cors import CrossOrigin
from cdp.api.services import Services
from cdp.errors import NotAuthenticatedError, NotPermittedError, UnavailableError
from cdp.ingest import EVENT_TYPES, Body, Delivery, read_body

_MIRROR_SECONDS = 30.0
_OK = b'{"success": true}'


def _single(kind: str) -> HTTPRouteHandler:
    """Return the handler of one type; analytics.js names it by its first letter."""

    @post(
        [f"/{kind}", f"/{kind[0]}"],
        opt=allow(WRITE_KEY),
        status_code=200,
        operation_class=bodies.single(kind),
    )
    async def single(request: Request[Any, Any, Any], services: InjectedServices) -> Response[bytes]:
        """Take one event; its type is the path's. Sent again under the same ``messageId`` it counts once."""
        return await _ingest(request, services, kind)

    return single


@post(["/batch", "/b", "/import"], opt=allow(WRITE_KEY), status_code=200, operation_class=bodies.BATCH)
async def batch(request: Request[Any, Any, Any], services: InjectedServices) -> Response[bytes]:
    """Take a batch of events. Each counts once, if sent again, by its ``messageId`` alone."""
    return await _ingest(request, services, "")


@post("/beacon/v1/batch", opt=allow(WRITE_KEY), status_code=200, operation_class=bodies.BATCH)
async def beacon(request: Request[Any, Any, Any], services: InjectedServices) -> Response[bytes]:
    """Take a batch that a page sends as it closes (``sendBeacon``), with its write key in the query."""
    return await _ingest(request, services, "", query_key=request.query_params.get("writeKey", ""))


async def _ingest(
    request: Request[Any, Any, Any], services: Services, type_: str, query_key: str = ""
) -> Response[bytes]:
    settings = services.settings
    limits = await limits_of(request, services)
    max_body_bytes = limits.max_body_bytes(settings.max_body_bytes)
    raw = await read_within(request, max_body_bytes)
    body = read_body(
        raw,
        encoding=request.headers.get("content-encoding", ""),
        single=bool(type_),
        max_bytes=max_body_bytes,
        max_event_bytes=limits.max_event_bytes(settings.max_event_bytes),
        max_events=settings.max_batch_events,
    )
    return await take(request, services, body, type_=type_, query_key=query_key)


async def take(
    request: Request[Any, Any, Any], services: Services, body: Body, *, type_: str = "", query_key: str = ""
) -> Response[bytes]:
    """Authenticate a parsed call, store what it brought, and answer.

    :param type_: the event type that the path implies; empty for a batch.
    :param query_key: the write key in the address.
    """
    received_at = services.clock.now()  # a body that comes slowly is not received before its end
    request.scope["state"]["events"] = len(body.messages)  # for the count of calls that are refused whole
    source = await source_of(request, services, body_key=body.write_key, query_key=query_key)
    check_size(source, body, services)
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
            address=address_of(request),
        )
        with services.mirror.place() if waits else nullcontext():
            way = services.writer if waits else services.intake  # a stream does not say when it is committed
            outcome = await way.deliver(delivery)
            request.scope["state"]["events"] = 0
            if waits:
                await _visible(services, outcome.commit_no)
    return Response(_OK, media_type="application/json")


async def _visible(services: Services, commit_no: int) -> None:
    """Wait until segments see a commit."""
    if not await asyncio.to_thread(services.mirror.wait_for, commit_no, _MIRROR_SECONDS):
        raise UnavailableError("stored, but the warehouse is late; the events are not lost")


async def source_of(
    request: Request[Any, Any, Any], services: Services, *, body_key: str = "", query_key: str = ""
) -> Source:
    """Return the source of a call's write key: in its header, else in its body, else in its address.

    A ``Bearer`` beside a write key in the body is a token of the client's own authorisation server (OAuth),
    which is none of ours: it counts for nothing, and the write key for what it is without.

    :raises NotAuthenticatedError: there is none, it is unknown, or two disagree.
    :raises NotPermittedError: it stands in the address and is not a browser's.
    """
    authorization = request.headers.get("authorization", "")
    token = bool(body_key) and authorization[:7].lower() == "bearer "
    header_key = "" if token else credential_of(authorization)
    write_key = header_key or body_key or query_key
    if any(key and key != write_key for key in (body_key, query_key)):
        raise NotAuthenticatedError("the write keys of the header, the body and the address disagree")
    if not write_key:
        raise NotAuthenticatedError("send the source's write key as Basic user or as writeKey in the body")
    held = services.access.cached_source(write_key)
    source = held if held is not None else await asyncio.to_thread(services.access.source, write_key)
    if query_key and source.kind != "browser":
        raise NotPermittedError(
            "only the write key of a browser source may stand in an address, where logs keep it;"
            " give this source another with `cdp source rotate`"
        )
    return source


HANDLERS = [
    Router("/v1", route_handlers=[*map(_single, sorted(EVENT_TYPES)), batch], middleware=[CrossOrigin()]),
    Router("/", route_handlers=[beacon], middleware=[CrossOrigin()]),
]
