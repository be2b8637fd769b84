"""Clients in a browser: pages of one site that send to a server of another origin."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from chromium import EXECUTABLE, Chromium, Page
from clients_world import HERE, MODULES, PATIENCE, Server

PAGES = {"segment-browser": "segment", "segment-snippet": "snippet", "rudder-browser": "rudder"}
CAMPAIGN = {f"utm_{name}": f"a-{name}" for name in ("source", "medium", "campaign", "term", "content")}


class _Files(SimpleHTTPRequestHandler):
    """The pages and the packages they load, whose modules name each other without their endings."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, directory=str(HERE))

    def do_GET(self) -> None:
        found = Path(self.translate_path(self.path))
        if found.suffix or not self.path.startswith("/node_modules/"):
            super().do_GET()
            return
        script = found.with_name(found.name + ".js").is_file()
        self.send_response(302)  # so that what the module imports is looked for beside it
        self.send_header("Location", self.path + (".js" if script else "/index.js"))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def need_browser() -> None:
    """Skip the test where Chromium or the clients are not there."""
    if EXECUTABLE is None:
        pytest.skip("install Debian's package chromium, in which clients of tests/clients run")
    if not MODULES.is_dir():
        pytest.skip("run `make clients`, which installs the clients of tests/clients/package.json")


@contextmanager
def site() -> Iterator[str]:
    """Yield the address of the site of the pages."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Files) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def visit(browser: Chromium, at: str, server: Server, events: Mapping[str, int]) -> dict[str, Visit]:
    """Open the page of each source (``client.scenario``) and wait until what it sends has come.

    :param events: source → how many events come of it in the end.
    """
    visits = {source: Visit(browser.page(), at, server, source) for source in events}
    until = time.monotonic() + PATIENCE
    for source, count in events.items():
        while len(server.taken(source)) < count:
            assert time.monotonic() < until, {name: one.said() for name, one in visits.items()}
            time.sleep(0.1)
    return visits


class Visit:
    """One page that is open."""

    def __init__(self, page: Page, at: str, server: Server, source: str) -> None:
        self.page = page
        client, _, scenario = source.partition(".")
        key = server.key(source, "browser")
        told = {"key": f"unknown-{source}" if scenario == "unknown" else key, "api": server.url}
        self.origin = at
        page.goto(f"{at}/pages/{PAGES[client]}.html?{urlencode({**told, 'scenario': scenario, **CAMPAIGN})}")

    def said(self) -> Any:
        """Return what the page's script said at its end; None while it runs."""
        text = self.page.look("JSON.stringify(window.said) || ''")
        return json.loads(text) if text else None

    def cookies(self) -> dict[str, str]:
        """Return the cookies that the client keeps at the page's site."""
        pairs = (pair.strip().partition("=") for pair in self.page.look("document.cookie").split(";"))
        return {name: value for name, _, value in pairs}
