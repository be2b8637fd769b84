"""The data directory's lock, and a command's way to the application."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from cdp.cli import client as way
from cdp.cli.lock import announced, data_lock, running_server
from cdp.errors import ConfigurationError, NotFoundError, UnavailableError
from cdp.settings import Settings

HOLD = """
import sys
from pathlib import Path
from cdp.cli.lock import data_lock

with data_lock(Path(sys.argv[1])) as held:
    print(held, flush=True)
    sys.stdin.read()
"""


def test_two_processes_never_hold_the_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    with data_lock(tmp_path) as held:
        assert not held
    holder.kill()  # the system frees the lock of whoever dies
    holder.communicate()
    with data_lock(tmp_path) as held:
        assert held


def test_the_address_of_a_server_that_died_is_forgotten(tmp_path: Path) -> None:
    with data_lock(tmp_path) as held:
        assert held
        with announced(tmp_path, "http://127.0.0.1:1"):
            server = running_server(tmp_path)
            assert server is not None
            assert server.url == "http://127.0.0.1:1"
        assert running_server(tmp_path) is None
    (tmp_path / "server.json").write_text('{"url": "http://127.0.0.1:1", "pid": 1}')
    with data_lock(tmp_path):
        assert running_server(tmp_path) is None


def test_without_any_key_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CDP_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="cdp init"), way.connected(Settings(data_dir=tmp_path)):
        pass


def test_a_held_lock_without_a_server_ends_in_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDP_API_KEY", "k")
    monkeypatch.setattr(way, "_PATIENCE_SECONDS", 0.0)
    with (
        data_lock(tmp_path),
        pytest.raises(UnavailableError, match="another cdp command"),
        way.connected(Settings(data_dir=tmp_path)),
    ):
        pass


def test_a_running_server_is_asked_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"items": [{"name": "shop"}], "next": null}')

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("CDP_API_KEY", "k")
    with (
        data_lock(tmp_path),
        announced(tmp_path, f"http://127.0.0.1:{server.server_port}"),
        way.connected(Settings(data_dir=tmp_path)) as api,
    ):
        assert list(api.items("/sources")) == [{"name": "shop"}]
    server.shutdown()
    server.server_close()
    assert seen == [("/api/v1/sources?limit=500", "Bearer k")]


def test_a_server_that_does_not_answer_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDP_API_KEY", "k")
    monkeypatch.setattr(way, "_PATIENCE_SECONDS", 0.0)
    with (
        data_lock(tmp_path),
        announced(tmp_path, "http://127.0.0.1:9"),
        way.connected(Settings(data_dir=tmp_path)) as api,
        pytest.raises(UnavailableError, match="does not answer"),
    ):
        api.get("/sources")


Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Application:
    """A tiny ASGI application that notes its lifespan."""

    def __init__(self, *, broken: bool = False) -> None:
        self.seen: list[str] = []
        self.broken = broken

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for phase in ("startup", "shutdown"):
                self.seen.append((await receive())["type"])
                if self.broken:
                    raise ConfigurationError("no schema")
                await send({"type": f"lifespan.{phase}.complete"})
            return
        self.seen.append(scope["path"])
        found = scope["path"] == "/api/v1/x"
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": []})
        await send({"type": "http.response.body", "body": b'{"a": 1}' if found else b'{"detail": "gone"}'})


def test_without_a_server_the_application_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    application = Application()
    monkeypatch.setenv("CDP_API_KEY", "k")
    monkeypatch.setattr(way, "_application", lambda _: application)
    with way.connected(Settings(data_dir=tmp_path)) as api:
        assert api.get("/x") == {"a": 1}
        with pytest.raises(NotFoundError, match="gone"):
            api.get("/y")
        with data_lock(tmp_path) as held:
            assert not held
    assert application.seen == ["lifespan.startup", "/api/v1/x", "/api/v1/y", "lifespan.shutdown"]


def test_an_error_at_start_up_comes_through_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDP_API_KEY", "k")
    monkeypatch.setattr(way, "_application", lambda _: Application(broken=True))
    with pytest.raises(ConfigurationError, match="no schema"), way.connected(Settings(data_dir=tmp_path)):
        pass
    with data_lock(tmp_path) as held:
        assert held


def test_places_of_a_problem_stand_on_the_one_line() -> None:
    problem = {"detail": "it does not fit", "problems": [{"place": "name", "problem": "too long"}]}
    error = way._error_of(httpx.Response(400, json=problem))
    assert error.message == "it does not fit; name: too long"


def test_a_list_is_asked_for_no_more_than_is_shown() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        limit = int(request.url.params["limit"])
        asked.append(f"{limit} after {request.url.params.get('cursor', 'nothing')}")
        return httpx.Response(200, json={"items": [{}] * limit, "next": f"c{len(asked)}"})

    api = way.Api(answer, "k")
    assert len(list(api.items("/audit", most=3))) == 3
    assert len(list(api.items("/audit", most=1200))) == 1200
    assert asked == ["3 after nothing", "500 after nothing", "500 after c2", "200 after c3"]
