"""Cross-origin calls (WHATWG Fetch, "CORS protocol"), for the ingest routes alone.

A page of any site may send events: what counts is its write key, so every origin is allowed. Clients may
send cookies along (analytics.js with ``credentials: include``), and none is ever looked at: an answer says
the same without. No other route is under this: a page of another site can read none of them.
"""

from __future__ import annotations

from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = "GET, POST, OPTIONS"
_MAX_AGE_SECONDS = 900


class CrossOrigin(ASGIMiddleware):
    """Answers OPTIONS itself, and lets the page that asked read every other answer."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Take one call."""
        asked = Headers.from_scope(scope)
        origin = asked.get("origin", "")

        async def allowing(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                headers["Vary"] = "Origin"
                if origin:
                    headers["Access-Control-Allow-Origin"] = origin
                    headers["Access-Control-Allow-Credentials"] = "true"
                    headers["Access-Control-Expose-Headers"] = "Retry-After, X-RateLimit-Reset"
            await send(message)

        if scope.get("method") != "OPTIONS":
            await next_app(scope, receive, allowing)
            return
        allowed = {"Allow": _METHODS}
        if origin:
            allowed["Access-Control-Allow-Methods"] = _METHODS
            allowed["Access-Control-Max-Age"] = str(_MAX_AGE_SECONDS)
            if wanted := asked.get("access-control-request-headers"):
                allowed["Access-Control-Allow-Headers"] = wanted
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in allowed.items()]
        await allowing({"type": "http.response.start", "status": 204, "headers": raw})
        await allowing({"type": "http.response.body", "body": b"", "more_body": False})
