"""A webhook receiver on the loopback that answers as the test tells it, and a desk that sends to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from gate_world import World

from cdp.clock import SECOND
from cdp.export import Outbox, Webhooks
from cdp.store import Connection


class Receiver:
    """What it was sent, and what it answers: status and headers, the last one for good."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[tuple[int, dict[str, str]]] = [(204, {})]
        self.seconds = 0.0
        self.calls: list[tuple[dict[str, str], bytes]] = []

    def answer(self) -> tuple[int, dict[str, str]]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def bodies(self) -> list[Any]:
        return [msgspec.json.decode(body) for _, body in self.calls]

    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.calls]

    def removals(self) -> dict[str, str]:
        """Return profile_ref → reason over everything received."""
        return {
            one["profile_ref"]: one["reason"]
            for body in self.bodies()
            for one in body["data"].get("removals", ())
        }


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.calls.append(({name.lower(): value for name, value in self.headers.items()}, body))
            time.sleep(receiver.seconds)
            status, headers = receiver.answer()
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook?tenant=7")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Desk:
    """A world with an outbox and the webhook of its destination."""

    def __init__(self, world: World, url: str, timeout: float = 20.0) -> None:
        def policy(_: Connection) -> object:
            return world.bundle

        self.world = world
        self.outbox = Outbox(world.store, world.committer, world.keyring, world.gate, policy, world.clock)  # type: ignore[arg-type]  # the bundle
        self.webhooks = Webhooks(
            world.store,
            world.committer,
            world.keyring,
            self.outbox,
            world.clock,
            loopback=True,
            timeout=timeout,
        )
        self.refs: dict[str, str] = {}
        shown = self.webhooks.put("key:1", "mailer", url)
        assert shown.secret is not None
        self.secret, self.public_key = shown.secret, shown.public_key

    def people(self, *names: str) -> None:
        for name in names:
            self.world.person(name)
        rows = self.world.rows(self.world.gate.authorise(self.world.request()).export_id)
        self.refs = {str(row["first_name"]): row["profile_ref"] for row in rows}

    def withdraw(self, number: int) -> None:
        self.world.say(number, "withdrawn")

    def turn(self, after: float = 0) -> int:
        """Let some seconds pass and the worker take a turn."""
        self.world.clock.advance(int(after * SECOND))
        self.outbox.issue()
        return self.webhooks.send()

    def states(self) -> dict[str, int]:
        return {one.state: one.messages for one in self.outbox.counts("mailer")}
