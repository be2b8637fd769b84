"""How large a source's calls may be, where that is not what the settings say for all.

Whose call it is must be known before its body is read: a source with a larger cap than others names itself by
HTTP Basic, as the clients do that send so much. One whose key stands in its body alone is read as any other,
and held to a smaller cap afterwards.
"""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request

from cdp.access import UNLIMITED, Limits, Source
from cdp.api.auth import credential_of
from cdp.api.services import Services
from cdp.errors import NotAuthenticatedError, TooLargeError
from cdp.ingest import Body


async def limits_of(request: Request[Any, Any, Any], services: Services) -> Limits:
    """Return the limits of the source that the header names; nothing is looked up for a small call."""
    headers, settings = request.headers, services.settings
    announced = headers.get("content-length", "")
    small = min(settings.max_event_bytes, settings.max_body_bytes)
    if announced.isdecimal() and int(announced) <= small and "content-encoding" not in headers:
        return UNLIMITED
    authorization = headers.get("authorization", "")
    if authorization[:6].lower() != "basic ":
        return UNLIMITED
    write_key = credential_of(authorization)
    held = services.access.cached_source(write_key)
    if held is None and write_key:
        try:
            held = await asyncio.to_thread(services.access.source, write_key)
        except NotAuthenticatedError:
            held = None  # the key that counts may stand in the body
    return UNLIMITED if held is None else held.limits


def check_size(source: Source, body: Body, services: Services) -> None:
    """Hold a call to the limit of the source whose it turned out to be.

    :raises TooLargeError: it is over it.
    """
    limit = source.limits.max_body_bytes(services.settings.max_body_bytes)
    if sum(map(len, body.messages)) > limit:
        raise TooLargeError(f"the body is over this source's limit of {limit} bytes")
