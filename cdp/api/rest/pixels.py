"""Pixels: an image that a mail or a page without scripts loads, whose address is one event.

Invariant: the answer is the same image with 200 whatever becomes of the event (Segment, "Pixel Tracking
API"), as nothing would send it again. What became of no event is counted by reason.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, Router, get
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap
from prometheus_client import Counter

from cdp.api.auth import WRITE_KEY, allow
from cdp.api.errors import classify, log_incident
from cdp.api.injected import InjectedServices
from cdp.api.rest.cors import CrossOrigin
from cdp.api.rest.ingest import take
from cdp.api.services import Services
from cdp.ingest import EVENT_TYPES, read_body, rudder_pixel, segment_pixel

_GIF = bytes.fromhex("47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b")
_LOST = Counter("cdp_ingest_pixels_lost", "Pixels that became no event, by the name of the error", ["reason"])


def _image() -> Response[bytes]:
    """Return a transparent image of one pixel, which nobody keeps: a mail that is opened again is seen."""
    return Response(_GIF, media_type="image/gif", headers={"Cache-Control": "no-store"})


def _lost(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer an error as if there were none, and count it."""
    del request  # its address holds what was sent
    status, reason = classify(error)
    if status >= 500 and reason == "internal":
        log_incident(error)
    _LOST.labels(reason).inc()
    return _image()


_ALWAYS_200: ExceptionHandlersMap = {Exception: _lost, HTTPException: _lost}


@get(
    [f"/v1/pixel/{kind}" for kind in sorted(EVENT_TYPES)],
    opt=allow(WRITE_KEY),
    exception_handlers=_ALWAYS_200,
)
async def segment(request: Request[Any, Any, Any], services: InjectedServices) -> Response[bytes]:
    """Take the event in ``data``, JSON or base64 of it with ``writeKey`` inside; answers an image."""
    return await _take(request, services, segment_pixel(request.query_params.get("data", "")))


@get(["/pixel/v1/track", "/pixel/v1/page"], opt=allow(WRITE_KEY), exception_handlers=_ALWAYS_200)
async def rudder(request: Request[Any, Any, Any], services: InjectedServices) -> Response[bytes]:
    """Take the event whose fields are the parameters, dots for levels, and ``writeKey``; answers an image."""
    return await _take(request, services, rudder_pixel(request.query_params.multi_items()))


async def _take(request: Request[Any, Any, Any], services: Services, raw: bytes) -> Response[bytes]:
    limit = services.settings.max_event_bytes
    body = read_body(raw, encoding="", single=True, max_bytes=limit, max_event_bytes=limit, max_events=1)
    type_ = request.scope["path_template"].rpartition("/")[2]
    await take(request, services, body, type_=type_, query_key=body.write_key)
    return _image()


HANDLERS = [Router("/", route_handlers=[segment, rudder], middleware=[CrossOrigin()])]
