"""The preference page in a real browser: by keyboard, without scripts, read aloud, on a small screen.

The server is the real one, in a process of its own.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from chromium import EXECUTABLE, Chromium, Page

pytestmark = pytest.mark.skipif(
    EXECUTABLE is None, reason="install Debian's chromium for the tests in a browser (.ci/run does)"
)
ROOT = Path(__file__).parents[2]
EMAIL = "marketing.communications.email"
SMS = "marketing.communications.sms"


class Served:
    """A running server and its operator."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=30)
        self._headers = {"Authorization": f"Bearer {key}", "CDP-Purpose": "compliance_review"}
        self._people = 0

    def api(self, method: str, path: str, body: object = None) -> Any:
        """Call the REST API."""
        answer = self.http.request(method, f"/api/v1{path}", headers=self._headers, json=body)
        assert answer.is_success, (answer.status_code, answer.text)
        return answer.json()

    def person(self) -> str:
        """Make somebody who agreed to e-mail, and return the address."""
        self._people += 1
        address = f"reader{self._people}@example.org"
        self.api("POST", "/consents", self._consent(address))
        return address

    def _consent(self, address: str) -> dict[str, object]:
        return {"identifiers": [{"type": "email", "value": address}], "purpose": EMAIL, "state": "granted"}

    def link(self, address: str, kind: str = "manage", **more: object) -> str:
        """Return the address of a link."""
        body = {"identifier": {"type": "email", "value": address}, "kind": kind, **more}
        return str(self.api("POST", "/preferences/links", body)["url"])

    def state(self, address: str, purpose: str = EMAIL) -> str:
        """Return the state of a purpose for whoever has an address."""
        profile = self.api("POST", "/profiles/lookup", {"type": "email", "value": address})["id"]
        items = self.api("GET", f"/consents?profile={profile}&limit=200")["items"]
        return next(str(item["state"]) for item in items if item["purpose"] == purpose)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server on a free port over SQLite."""
    folder = tmp_path_factory.mktemp("served")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CDP_")}
    environment = {
        **clean,
        "CDP_DATA_DIR": str(folder / "var"),
        "CDP_POLICIES_DIR": str(ROOT / "policies"),
        "CDP_PUBLIC_URL": url,
        "CDP_CONTROLLER_NAME": "Example Books",
    }
    command = [sys.executable, "-m", "cdp"]
    subprocess.run([*command, "init"], env=environment, cwd=ROOT, check=True, capture_output=True)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "serve", "--port", str(port)], env=environment, cwd=ROOT, stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"{url}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert time.monotonic() < until, (folder / "log").read_text()[-2000:]
            assert server.poll() is None, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        running = Served(url, (folder / "var" / "operator.key").read_text().strip())
        with running.http:
            yield running
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One browser for the file."""
    with Chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture
def page(browser: Chromium) -> Page:
    """A fresh tab that shares nothing with others."""
    return browser.page()


def first_focus(page: Page) -> str:
    """Return what a loaded page gives the focus to: a browser does so when it first draws the page."""
    until = time.monotonic() + 20
    while not page.focused() and time.monotonic() < until:
        time.sleep(0.05)
    return page.focused()


def tab_to(page: Page, wanted: str) -> list[str]:
    """Press Tab until something has the focus; returns what had it on the way, and it."""
    seen = []
    for _ in range(60):
        page.press("Tab")
        seen.append(page.focused())
        if seen[-1] == wanted:
            return seen
    raise AssertionError(seen)


def test_everything_by_keyboard(served: Served, page: Page) -> None:
    address = served.person()
    page.goto(served.link(address))
    page.press("Tab")
    assert page.focused() == "Skip to your choices"
    page.press("Enter")
    assert page.look("location.hash") == "#choices"
    order = tab_to(page, "cmarketing-communications-email-yes")
    page.press("ArrowDown")
    assert page.focused() == "cmarketing-communications-email-no"
    order += tab_to(page, "save")
    assert len(order) == len(set(order))  # the focus goes once through everything, forwards
    page.press("Enter", loads=True)
    assert first_focus(page) == "Your choices are saved. They are in force now."
    assert page.look("document.title").startswith("Your choices are saved.")
    assert served.state(address) == "withdrawn"
    tab_to(page, "r-access")
    page.press("ArrowDown", "Tab")
    assert page.focused() == "request"
    page.press("Enter", loads=True)
    assert "Portability, asked on" in page.text()


def test_everything_without_scripts(served: Served, page: Page) -> None:
    address = served.person()
    page.without_scripts()
    page.goto(served.link(address))
    tab_to(page, "none")
    page.press("Enter", loads=True)
    assert "Your choices are saved." in page.text()
    assert served.state(address) == served.state(address, SMS) == "withdrawn"


def test_the_focus_can_always_be_seen(served: Served, page: Page) -> None:
    page.goto(served.link(served.person()))
    outlined = (
        "(e => [e, e.closest('label')].map(x => x && getComputedStyle(x)).some("
        "x => x && x.outlineStyle !== 'none' && parseFloat(x.outlineWidth) >= 2))(document.activeElement)"
    )
    seen = 0
    while True:
        page.press("Tab")
        if not page.focused():  # behind the last control the page has no focus
            break
        seen += 1
        assert page.look(outlined), page.focused()
    assert seen > 8


def test_one_click_unsubscribes_a_person_after_a_question(served: Served, page: Page) -> None:
    address = served.person()
    path = served.link(address, "withdraw", purposes=[EMAIL])
    page.goto(path)
    assert served.state(address) == "granted"
    tab_to(page, "Yes, unsubscribe me")
    page.press("Enter", loads=True)
    assert first_focus(page) == "You are unsubscribed."
    assert served.state(address) == "withdrawn"


def test_one_click_unsubscribes_by_a_machine_and_scanners_change_nothing(served: Served) -> None:
    address = served.person()
    path = served.link(address, "withdraw", purposes=[EMAIL])
    for method in ("GET", "HEAD", "OPTIONS"):
        served.http.request(method, path)
    assert served.state(address) == "granted"
    answer = served.http.post(path, data={"List-Unsubscribe": "One-Click"})
    assert (answer.status_code, len(answer.history)) == (200, 0)
    assert served.state(address) == "withdrawn"


def test_chinese(served: Served, page: Page) -> None:
    page.goto(served.link(served.person(), language="zh-CN"))
    assert page.look("document.documentElement.lang") == "zh"
    assert "由您决定" in page.text()
    left = page.look(
        "[...document.querySelectorAll('main h1, main h2, main button, main label')]"
        ".map(e => e.textContent.trim()).filter(t => !/[\\u4e00-\\u9fff]/.test(t)).join('|')"
    )
    assert left == ""
    tab_to(page, "save")
    page.press("Enter", loads=True)
    assert "没有任何更改" in page.text()
    assert page.look("document.documentElement.lang") == "zh"
    tab_to(page, "English")
    page.press("Enter", loads=True)
    assert page.look("document.documentElement.lang") == "en"


def test_no_request_leaves_the_server_and_nothing_is_kept(served: Served, page: Page) -> None:
    path = served.link(served.person())
    page.goto(path)
    tab_to(page, "save")
    page.press("Enter", loads=True)
    assert page.requests
    assert {url.startswith(served.url + "/preferences/") for url in page.requests} == {True}
    assert page.problems == []
    assert page.call("Network.getAllCookies")["cookies"] == []
    assert page.look("document.scripts.length") == 0
    assert page.look("document.referrer") == ""


def test_what_a_screen_reader_is_told(served: Served, page: Page) -> None:
    page.goto(served.link(served.person()))
    told = page.accessible()
    radios = [node for node in told if node["role"] == "radio"]
    assert {node["name"] for node in radios} >= {"Yes", "No"}
    assert all(node["name"] for node in told if node["role"] in {"radio", "button", "link", "form", "region"})
    groups = {node["name"]: node for node in told if node["role"] == "group"}
    assert "E-mail marketing" in groups
    assert "You said yes on" in groups["E-mail marketing"]["description"]
    headings = page.look("[...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(headings))
    assert {"main", "banner", "navigation"} <= {node["role"] for node in told}
    ids = page.look("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert sorted(ids) == sorted(set(ids))


@pytest.mark.parametrize("kind", ["manage", "withdraw"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_small_screen_does_not_scroll_sideways(
    served: Served, page: Page, kind: str, language: str
) -> None:
    more = {"purposes": [EMAIL]} if kind == "withdraw" else {}
    page.width(320)
    page.goto(served.link(served.person(), kind, language=language, **more))
    assert page.look("document.documentElement.scrollWidth") <= 320
    small = page.look(
        "[...document.querySelectorAll('button, .answers label, .kinds label')]"
        ".filter(e => e.getBoundingClientRect().height < 44).length"
    )
    assert small == 0


def test_forged_links_in_a_browser(served: Served, page: Page) -> None:
    page.goto(f"{served.url}/preferences/forged")
    assert re.search("This link does not work", page.text())
    assert page.problems == ["Failed to load resource: the server responded with a status of 404 (Not Found)"]
