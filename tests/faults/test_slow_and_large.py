"""Callers that are slow, large or too many, against a real server: cut off, while others are served."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from platform_fixtures import Template, copy_database, settings_of
from served import served
from sqlalchemy import text

from cdp.settings import Settings
from cdp.store import Store

_SECONDS = 30.0
_ENOUGH = 20


class Server(NamedTuple):
    """A running server and the keys of two sources."""

    url: str
    process: subprocess.Popen[bytes]
    settings: Settings
    server_key: str
    browser_key: str

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def send(self, http: httpx.Client, name: str, *, pad: int = 0, **headers: str) -> httpx.Response:
        """Send one event; a browser's with ``Sec-GPC``, a server's otherwise."""
        key = self.browser_key if headers else self.server_key
        body = {"type": "page", "userId": name, "messageId": name, "properties": {"note": "x" * pad}}
        content = msgspec.json.encode({"batch": [body]})
        return http.post(f"{self.url}/v1/batch", content=content, auth=(key, ""), headers=headers)

    def connect(self) -> socket.socket:
        made = socket.create_connection(self.address, timeout=_SECONDS)
        made.settimeout(_SECONDS)
        return made

    def head(self, key: str, *more: str) -> bytes:
        """Return the head of a call, up to its body."""
        basic = base64.b64encode(f"{key}:".encode()).decode()
        lines = ("POST /v1/batch HTTP/1.1", "Host: x", f"Authorization: Basic {basic}", *more)
        return "".join(f"{line}\r\n" for line in lines).encode()

    def answering(self) -> int:
        """Return the number of the process that answers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        commands = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
        return next(number for number, command in commands.items() if b"resource_tracker" not in command)

    def metric(self, name: str) -> float:
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


@pytest.fixture
def server(tmp_path: Path, templates: Callable[[str], Template]) -> Iterator[Server]:
    """A server with short times and little room; what it stores in decides nothing here."""
    template = templates("sqlite")
    shutil.copytree(template.folder, tmp_path / "var")
    main, keys = (f"sqlite:///{tmp_path / name}.sqlite" for name in ("cdp", "keys"))
    copy_database(template.database, main)
    copy_database(template.keys, keys)
    settings = settings_of(tmp_path / "var", main, keys)
    limits: dict[str, Any] = {
        "header_timeout_s": 2,
        "body_timeout_s": 2,
        "max_connections": 200,
        "drain_timeout_s": 600,  # only a second signal ends it before
    }
    with served(settings, queue_events=_ENOUGH, queue_bytes=8 << 20, **limits) as (url, process):
        key = (settings.data_dir / "operator.key").read_text(encoding="ascii").strip()
        made = [
            httpx.post(
                f"{url}/api/v1/sources",
                json={"name": kind, "kind": kind},
                headers={"Authorization": f"Bearer {key}"},
            ).json()["write_key"]
            for kind in ("server", "browser")
        ]
        yield Server(url, process, settings, *made)


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Have nobody else write for the time of the block."""
    with (
        closing(Store(settings.database)) as store,
        store.writing() as connection,
        connection.begin() as transaction,
    ):
        connection.execute(text("UPDATE log_head SET policies = policies"))
        yield
        transaction.rollback()


def _until_closed(connection: socket.socket, dribble: bytes) -> bytes:
    """Send a little again and again until the server closes; return what it answered."""
    got = b""
    connection.settimeout(0.2)
    until = time.monotonic() + _SECONDS
    with closing(connection):
        while time.monotonic() < until:
            try:
                if dribble:
                    connection.sendall(dribble)
                part = connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                return got
            if not part:
                return got
            got += part
    pytest.fail("the server did not close the connection")


def _too_large_is_cut_off_while_it_comes(server: Server) -> None:
    with closing(server.connect()) as announced:
        announced.sendall(server.head(server.server_key, "Content-Length: 9000000000", ""))
        assert announced.recv(4096).startswith(b"HTTP/1.1 400")
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    sent = 0
    with closing(server.connect()) as endless:
        endless.sendall(server.head(server.server_key, "Transfer-Encoding: chunked", ""))
        try:
            while sent < 1 << 30:
                endless.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass
    assert sent < 32 << 20, "what the sockets' buffers hold, and not what somebody sends"
    with closing(server.connect()) as wordy:
        wordy.sendall(server.head(server.server_key, *(f"X-{n}: {'y' * 4000}" for n in range(90)), ""))
        assert wordy.recv(4096).startswith(b"HTTP/1.1 431")
    with httpx.Client(timeout=_SECONDS) as http:
        assert server.send(http, "after", pad=10).status_code == 200


def test_slow_callers_are_cut_off_and_others_served_meanwhile(server: Server) -> None:
    body = server.head(server.server_key, "Content-Length: 400000", "")
    kinds = {
        "silent": (b"", b""),
        "headers": (server.head(server.server_key), b"X-A: b\r\n"),
        "body": (body, b" "),
        "large": (body + b"{" + b" " * 300_000, b" "),
    }
    with ThreadPoolExecutor(80) as threads, httpx.Client(timeout=_SECONDS) as http:
        ends: dict[str, list[Future[bytes]]] = {kind: [] for kind in kinds}
        for kind, (start, dribble) in kinds.items():
            for _ in range(_ENOUGH):
                connection = server.connect()
                connection.sendall(start)
                ends[kind].append(threads.submit(_until_closed, connection, dribble))
        began = time.monotonic()
        took = []
        while time.monotonic() - began < 2.5:
            at = time.monotonic()
            assert server.send(http, f"meanwhile-{at}", pad=1000).status_code == 200
            took.append(time.monotonic() - at)
        answers = {kind: [end.result(_SECONDS) for end in found] for kind, found in ends.items()}
    assert max(took) < 2, "nobody waited for a slow caller's end"
    assert set(answers["silent"]) == set(answers["headers"]) == {b""}
    for answer in answers["body"]:
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: " in answer.lower()
    # of these some find no room at once, as half of 8 MiB holds thirteen
    assert {answer[:12] for answer in answers["large"]} <= {b"HTTP/1.1 503", b"HTTP/1.1 429", b""}
    assert server.metric("cdp_queue_bytes ") == 0
    assert server.metric("cdp_http_bodies_cut_total") > _ENOUGH
    _too_large_is_cut_off_while_it_comes(server)


def test_a_burst_is_refused_in_flat_memory_and_a_no_is_taken(server: Server) -> None:
    answers: dict[str, list[int]] = {}

    def send(name: str, **more: str) -> None:
        with httpx.Client(timeout=_SECONDS) as http:
            answers.setdefault(name, []).append(server.send(http, name, pad=20_000, **more).status_code)

    with ThreadPoolExecutor(_ENOUGH + 4) as threads, locked(server.settings):
        waiting = [threads.submit(send, f"waits-{number}") for number in range(_ENOUGH)]
        _until(lambda: server.metric("cdp_queue_events ") >= _ENOUGH)
        number = server.answering()
        with httpx.Client(timeout=_SECONDS) as http:
            before, told = _memory(number), set()
            for _ in range(400):
                refused = server.send(http, "refused", pad=400_000)
                told.add((refused.status_code, refused.json()["code"]))
                assert refused.headers["Retry-After"] == refused.headers["X-RateLimit-Reset"]
            after = _memory(number)
            assert told == {(429, "too_many_requests")}
            assert after - before < 40 << 20, "160 MB were sent"
            waiting.append(threads.submit(send, "no", **{"Sec-GPC": "1"}))
            _until(lambda: server.metric("cdp_queue_reserve_calls_total") == 1)
            assert server.metric("cdp_queue_oldest_seconds ") > 0
            server.process.send_signal(signal.SIGTERM)
            _until(lambda: not _listens(server))
            threading.Event().wait(1)
            assert server.process.poll() is None, "it waits for the database"
    for call in waiting:
        call.result(_SECONDS)
    assert answers.pop("no") == [200]
    assert set(answers) == {f"waits-{number}" for number in range(_ENOUGH)}
    assert {status for found in answers.values() for status in found} == {200}
    assert server.process.wait(_SECONDS) == 0


def test_a_second_signal_ends_a_server_that_cannot(server: Server) -> None:
    with ThreadPoolExecutor(1) as threads, httpx.Client(timeout=_SECONDS) as http, locked(server.settings):
        call = threads.submit(server.send, http, "waits")
        _until(lambda: server.metric("cdp_queue_events ") == 1)
        server.process.send_signal(signal.SIGINT)
        _until(lambda: not _listens(server))
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        server.process.wait(_SECONDS)
        with pytest.raises(httpx.TransportError):
            call.result(_SECONDS)


def _until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + _SECONDS
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def _listens(server: Server) -> bool:
    try:
        with closing(socket.create_connection(server.address, timeout=1)):
            return True
    except OSError:
        return False


def _memory(number: int) -> int:
    """Return what a process has in memory, in bytes."""
    return int(Path(f"/proc/{number}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
