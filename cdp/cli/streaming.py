"""A long answer, piece by piece as it comes: over HTTP, or from the application in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx

AsgiApp = Callable[..., Awaitable[None]]
Take = Callable[[httpx.Headers], Callable[[bytes], object]]
"""Given the headers of a good answer, returns what is given each piece of its body."""
Send = Callable[[httpx.Request], httpx.Response]
Streamer = Callable[[httpx.Request, Take], httpx.Response]
"""Sends a request; returns the answer, without its body where that was taken."""
_ERROR = 400


def streamed(client: httpx.Client, request: httpx.Request, take: Take) -> httpx.Response:
    """Ask a server."""
    answer = client.send(request, stream=True)
    try:
        if answer.status_code >= _ERROR:
            answer.read()
        else:
            each = take(answer.headers)
            for piece in answer.iter_bytes():
                each(piece)
    finally:
        answer.close()
    return answer


def whole(send: Send) -> Streamer:
    """Return what hands over an answer that comes whole."""

    def stream(request: httpx.Request, take: Take) -> httpx.Response:
        answer = send(request)
        if answer.status_code < _ERROR:
            take(answer.headers)(answer.content)
        return answer

    return stream


async def from_application(app: AsgiApp, request: httpx.Request, take: Take) -> httpx.Response:
    """Ask the application itself (ASGI HTTP 2.3)."""
    status, headers, kept = 500, list[tuple[bytes, bytes]](), bytearray()
    each: Callable[[bytes], object] = kept.extend
    asked, complete = False, asyncio.Event()

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:
            await complete.wait()
            return {"type": "http.disconnect"}
        asked = True
        return {"type": "http.request", "body": request.content, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status, headers, each
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message.get("headers", []))
            each = take(httpx.Headers(headers)) if status < _ERROR else kept.extend
        elif message["type"] == "http.response.body":
            each(bytes(message.get("body", b"")))
            if not message.get("more_body", False):
                complete.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "server": (request.url.host, request.url.port),
        "client": ("127.0.0.1", 0),
        "root_path": "",
    }
    await app(scope, receive, send)
    return httpx.Response(status, headers=headers, content=bytes(kept), request=request)
