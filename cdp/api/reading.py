"""How bodies are read: counted while they are held, and cut off when they come too slowly. For every route.

A body counts in the writer's room from its first chunk until its call is answered, so that bodies of many
calls cannot fill the memory (``cdp/worker/room.py``). It has ``CDP_BODY_TIMEOUT_S`` seconds from when the
first of it is asked for. Who is too slow gets 503 rather than 408, after which some clients would drop what
they send; the server then closes the connection, as after every body that was not read to its end.
"""

from __future__ import annotations

import asyncio

from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send
from prometheus_client import Counter

from cdp.errors import MalformedBodyError, OverloadedError, UnavailableError
from cdp.worker import Room

_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
_CUT = Counter("cdp_http_bodies_cut", "Bodies that were not read to their end, by why", ["reason"])


class Reading(ASGIMiddleware):
    """Counts bodies and sees to their time."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Take one call."""
        if scope.get("method") in _BODILESS:
            await next_app(scope, receive, send)
            return
        body = _Body(scope, receive)
        try:
            await next_app(scope, body.receive, send)
        finally:
            body.forget()


class _Body:
    """The body of one call."""

    __slots__ = ("_deadline", "_held", "_receive", "_room", "_scope", "_whole")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self._room: Room | None = None
        self._deadline = 0.0
        self._whole = False
        self._held = 0

    async def receive(self) -> HTTPReceiveMessage:
        """Return the next part.

        :raises UnavailableError: it did not come in time.
        :raises OverloadedError: there is no room for it.
        :raises MalformedBodyError: the connection ended before the body did.
        """
        if self._whole:
            return await self._receive()  # type: ignore[return-value]  # of HTTP alone
        if self._room is None:
            services = self._scope["litestar_app"].state.services
            self._room = services.writer.room
            self._deadline = asyncio.get_running_loop().time() + services.settings.body_timeout_s
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            _CUT.labels("slow").inc()
            raise UnavailableError("the body came too slowly; send less at once") from None
        if message["type"] != "http.request":
            raise MalformedBodyError("the connection ended before the body did")
        size = len(message["body"])
        if size:
            try:
                self._room.read(self._held, size)
            except OverloadedError:
                _CUT.labels("full").inc()
                raise
            self._held += size
        self._whole = not message.get("more_body", False)
        return message

    def forget(self) -> None:
        """Count it no more."""
        if self._room is not None:
            self._room.forget(self._held)
