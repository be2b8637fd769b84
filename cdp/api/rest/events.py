"""CloudEvents 1.0 over HTTP (protocol binding §3), under the write key of a source.

Steps of a call: authenticate → read at most the allowed bytes → read the events → hand them to the writer →
answer after the commit, as the other ingest routes do. A sender that asks first whether it may deliver
("HTTP 1.1 Web Hooks for Event Delivery" 1.0, §4) is told yes: what counts is the write key.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, Router, post
from litestar.datastructures import Headers
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from cdp.api.auth import WRITE_KEY, address_of, allow
from cdp.api.injected import InjectedServices
from cdp.api.request import carries_gpc, read_within
from cdp.api.rest import bodies
from cdp.api.rest.cors import CrossOrigin
from cdp.api.rest.ingest import source_of
from cdp.ingest import CLOUDEVENT, Delivery, inflate, read_events

_OK = b'{"success": true}'


@post("/events", opt=allow(WRITE_KEY), status_code=200, operation_class=bodies.CLOUDEVENTS)
async def events(request: Request[Any, Any, Any], services: InjectedServices) -> Response[bytes]:
    """Take CloudEvents: binary, structured or batched. Each counts once, by its source and id."""
    settings = services.settings
    source = await source_of(request, services)
    max_body_bytes = source.limits.max_body_bytes(settings.max_body_bytes)
    raw = await read_within(request, max_body_bytes)
    received_at = services.clock.now()
    if "gzip" in request.headers.get("content-encoding", "").lower():
        raw = inflate(raw, max_body_bytes)
    messages = read_events(
        raw,
        request.headers.get("content-type", ""),
        request.headers.items(),
        max_event_bytes=source.limits.max_event_bytes(settings.max_event_bytes),
        max_events=settings.max_batch_events,
    )
    if messages:
        delivery = Delivery(
            source=source,
            messages=messages,
            received_at=received_at,
            sec_gpc=carries_gpc(request),
            address=address_of(request),
            form=CLOUDEVENT,
        )
        await services.intake.deliver(delivery)
    return Response(_OK, media_type="application/json")


class Handshake(ASGIMiddleware):
    """Answers whoever asks whether it may deliver; any other OPTIONS is a browser's."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Take one call."""
        origin = Headers.from_scope(scope).get("webhook-request-origin", "")
        if scope.get("method") != "OPTIONS" or not origin:
            await next_app(scope, receive, send)
            return
        allowed = {"allow": "POST, OPTIONS", "webhook-allowed-origin": origin, "webhook-allowed-rate": "*"}
        headers = [(name.encode(), value.encode("latin-1")) for name, value in allowed.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


HANDLERS = [Router("/v1", route_handlers=[events], middleware=[Handshake(), CrossOrigin()])]
