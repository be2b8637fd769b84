"""The application in this process, asked as a server would be: what it answers comes as it is made.

Invariant: the application's loop runs while a request, or a piece of its answer, is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import httpx

from cdp.errors import CdpError

AsgiApp = Callable[..., Awaitable[None]]
_PIECES = 4  # of an answer that may wait for us


@contextmanager
def in_process(app: AsgiApp) -> Iterator[Callable[[httpx.Request], httpx.Response]]:
    """Start the application; gives what sends a request and returns the answer, to be read."""
    with asyncio.Runner() as runner:
        lifespan = runner.run(_Lifespan.start(app))
        try:
            yield lambda request: _Exchange(runner, app, request).answer()
        finally:
            runner.run(lifespan.stop())


class _Exchange(httpx.SyncByteStream):
    """One request and its answer (ASGI 3.0, HTTP 2.3)."""

    def __init__(self, runner: asyncio.Runner, app: AsgiApp, request: httpx.Request) -> None:
        self._runner = runner
        self._app = app
        self._request = request
        self._messages: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue(_PIECES)
        self._task: asyncio.Task[None] | None = None

    def answer(self) -> httpx.Response:
        """Return the answer as soon as it begins; the application failing is a 500."""
        message = self._runner.run(self._begin())
        if message is None:
            return httpx.Response(500, request=self._request)
        return httpx.Response(
            message["status"], headers=message.get("headers", []), stream=self, request=self._request
        )

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body, piece by piece.

        :raises httpx.RemoteProtocolError: the application failed meanwhile.
        """
        more = True
        while more:
            message = self._runner.run(self._next())
            if message is None:
                raise httpx.RemoteProtocolError("the application failed", request=self._request)
            yield message.get("body", b"")
            more = message.get("more_body", False)

    def close(self) -> None:
        """Have the application stop, where it is not through."""
        self._runner.run(self._end())

    async def _begin(self) -> MutableMapping[str, Any] | None:
        url, body = self._request.url, self._request.read()
        requests = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, Any]:
            for found in requests:
                return found
            await asyncio.Event().wait()  # nobody hangs up while we listen
            raise AssertionError

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self._request.method,
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in self._request.headers.raw],
            "server": (url.host, url.port),
            "client": ("127.0.0.1", 0),
        }

        async def run() -> None:
            await self._app(scope, receive, self._messages.put)

        self._task = asyncio.create_task(run())
        return await self._next()

    async def _next(self) -> MutableMapping[str, Any] | None:
        """Return the next message; None when the application failed before it."""
        assert self._task is not None  # noqa: S101  # _begin() has made it
        while True:
            found = asyncio.ensure_future(self._messages.get())
            await asyncio.wait({found, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if found.done():
                return found.result()
            found.cancel()
            if self._messages.empty():
                return None

    async def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})


class _Lifespan:
    """The ASGI lifespan protocol (ASGI 3.0, lifespan 2.0), as a server speaks it."""

    def __init__(self) -> None:
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_app: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, app: AsgiApp) -> _Lifespan:
        """Start ``app``; its own error comes through as it is."""
        self = cls()
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}

        async def run() -> None:
            await app(scope, self._to_app.get, self._from_app.put)

        self._task = asyncio.create_task(run())
        await self._ask("startup")
        return self

    async def stop(self) -> None:
        """Shut the application down."""
        await self._ask("shutdown")
        if self._task is not None:
            await self._task

    async def _ask(self, phase: str) -> None:
        assert self._task is not None  # noqa: S101  # start() has made it
        await self._to_app.put({"type": f"lifespan.{phase}"})
        answer = asyncio.ensure_future(self._from_app.get())
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done() and str(answer.result()["type"]).endswith("complete"):
            return
        answer.cancel()
        await self._task  # raises what went wrong
        raise CdpError(f"the application did not finish its {phase}")
