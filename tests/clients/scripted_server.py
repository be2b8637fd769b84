"""`cdp serve`'s application behind a layer that writes down what clients send and fails as it is told.

A real server process for the tests of real clients: Granian, the platform, and around it

- a record of every call, as it came, and of every event, as the pipeline reads it (``GET /_written``);
- a script for each source (``POST /_script``): what becomes of its next calls. An error is raised where the
  platform raises its own, so that what the client is answered is the platform's own word. ``stored`` says
  that the events were stored before, and only the answer is lost;
- a token endpoint of an authorisation server (``POST /_oauth/token``), for clients that want one.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, cast

import msgspec
from granian import Granian
from granian.constants import Interfaces

from cdp import app
from cdp.errors import (
    MalformedBodyError,
    NotAuthenticatedError,
    OverloadedError,
    UnavailableError,
)
from cdp.ingest import Delivery, Event, Prepared
from cdp.pipeline import Outcome
from cdp.settings import load


class Step(msgspec.Struct, frozen=True):
    """What becomes of one call.

    :param status: of the answer.
    :param after: seconds, for ``Retry-After``; 0 for none.
    :param stored: what came was stored all the same.
    """

    status: int
    after: int = 0
    stored: bool = False


class Call(msgspec.Struct, kw_only=True):
    """One call, and what it was answered.

    :param at: seconds on a monotonic clock.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    at: float
    status: int = 0
    answer: dict[str, str] = {}


class Scripted:
    """The layer, an ASGI application."""

    def __init__(self) -> None:
        self._platform = app.build(load())
        self._inner: Any = app.application(self._platform)
        self._scripts: dict[str, deque[Step]] = {}
        self._calls: list[Call] = []
        self._events: list[tuple[str, Any]] = []
        services = self._platform.services
        self._prepare, self._deliver = services.pipeline.prepare, services.intake.deliver
        services.pipeline.prepare = self._noted  # type: ignore[method-assign]  # to see what is read
        services.intake.deliver = self._scripted  # type: ignore[method-assign]  # to fail as told

    def _noted(self, deliveries: Any, replay: Any = None) -> Prepared:
        prepared = self._prepare(deliveries, replay)
        for event in (item.classified.event for item in prepared.events):
            self._events.append((event.source.name, _plain(event)))
        for reject in prepared.rejects:
            self._events.append((reject.message.delivery.source.name, {"rejected": reject.reason}))
        return prepared

    async def _scripted(self, delivery: Delivery) -> Outcome:
        script = self._scripts.get(delivery.source.name)
        if not script:
            return cast("Outcome", await self._deliver(delivery))
        step = script.popleft()
        _STEP.set(step)
        error = _error(step)
        if error is None or step.stored:
            outcome = await self._deliver(delivery)
            if error is None:
                return cast("Outcome", outcome)
        raise error

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        body = await _whole(receive)
        if scope["path"].startswith("/_"):
            await _answer(send, self._control(scope["path"], body))
            return
        call = Call(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode(),
            headers={name.decode(): value.decode("latin-1") for name, value in scope["headers"]},
            body=body,
            at=time.monotonic(),
        )
        self._calls.append(call)
        _STEP.set(None)
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Any:
            return waiting.pop() if waiting else await receive()

        async def noting(message: Any) -> None:
            message = _as_told(message)
            if message["type"] == "http.response.start":
                call.status = message["status"]
                call.answer = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            await send(message)

        await self._inner(scope, again, noting)

    def _control(self, path: str, body: bytes) -> Any:
        if path == "/_script":
            told = msgspec.json.decode(body, type=dict[str, list[Step]])
            self._scripts.update({name: deque(steps) for name, steps in told.items()})
        elif path == "/_oauth/token":
            return {"access_token": "a-token", "token_type": "Bearer", "expires_in": 3600}
        return {"calls": self._calls, "events": self._events}


_STEP: ContextVar[Step | None] = ContextVar("step", default=None)


def _error(step: Step) -> Exception | None:
    """Return the platform's error of a step; None for a success, perhaps under another number."""
    kinds: dict[int, Callable[[], Exception]] = {
        400: lambda: MalformedBodyError("told to"),
        401: lambda: NotAuthenticatedError("told to"),
        429: lambda: OverloadedError("told to", retry_after=step.after),
        500: lambda: RuntimeError("told to"),
        503: lambda: UnavailableError("told to", retry_after=step.after),
    }
    return kinds[step.status]() if step.status in kinds else None


def _as_told(message: Any) -> Any:
    """Return an answer under the number of its step, and without ``Retry-After`` where that has none."""
    step = _STEP.get()
    if step is None:
        return message
    if message["type"] == "http.response.body" and step.status == 204:
        return {**message, "body": b""}
    if message["type"] != "http.response.start":
        return message
    left_out = set() if step.after else {b"retry-after"}
    if step.status == 204:
        left_out |= {b"content-length", b"content-type"}
    kept = [pair for pair in message["headers"] if pair[0].lower() not in left_out]
    return {**message, "status": step.status, "headers": kept}


def _plain(event: Event) -> Any:
    said = [[one.purpose, one.state] for one in event.statements]
    fields = ("type", "name", "identifiers", "properties", "traits", "context", "rest")
    return {name: getattr(event, name) for name in fields} | ({"said": said} if said else {})


async def _whole(receive: Any) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _answer(send: Any, value: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": msgspec.json.encode(value)})


def application() -> Scripted:
    """Make the application of a server process."""
    return Scripted()


if __name__ == "__main__":
    os.environ["CDP_PUBLIC_URL"] = f"http://127.0.0.1:{sys.argv[1]}"  # as `cdp serve` does
    Granian(
        "scripted_server:application",
        factory=True,
        interface=Interfaces.ASGI,
        address="127.0.0.1",
        port=int(sys.argv[1]),
        workers=1,
        websockets=False,
        log_access=False,
    ).serve()
