"""The reading view of an archive in a real browser, from a folder as its person opens it: nothing happens."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import HARMFUL, archive_of, hostile, identify
from caller import Caller
from chromium import EXECUTABLE, Chromium

pytestmark = [
    pytest.mark.skipif(
        EXECUTABLE is None, reason="install Debian's chromium for the tests in a browser (.ci/run does)"
    ),
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),  # the pages are the same on either
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One browser for the file."""
    with Chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture
def unpacked(caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the archive of somebody whose data was written to do harm."""
    monkeypatch.setattr("cdp.rights.archive.gather._AT_ONCE", 2)
    caller.send(identify(), *hostile(4))
    opened = archive_of(caller)
    folder = tmp_path / "outside"  # the person has it
    for name in opened.names:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(opened.raw(name))
    return folder


def test_nothing_runs_and_nothing_is_asked_for(browser: Chromium, unpacked: Path) -> None:
    page = browser.page()
    for name, title in (("index.html", "Your data"), ("events/0001.html", "Events, page 1 of 3")):
        page.goto((unpacked / name).as_uri())
        page.look("document.body.dispatchEvent(new MouseEvent('mouseover'))")
        assert page.look("document.title") == title
        active = "script,img,iframe,form,object,embed,link,base,video,svg,[onclick],[onerror],[onmouseover]"
        assert page.look(f"document.querySelectorAll('{active}').length") == 0
        assert page.look("getComputedStyle(document.querySelector('h1')).display") == "block"
        page.look("[...document.querySelectorAll('bdi,td,dd')].forEach(one => { one.focus(); one.click() })")
        assert page.look("document.title") == title
    pages = {one.as_uri() for one in unpacked.rglob("*.html")}
    assert {url.partition("#")[0] for url in page.requests} <= pages
    assert page.problems == []


def test_what_were_to_slip_in_is_forbidden_by_the_page_itself(browser: Chromium, unpacked: Path) -> None:
    page = browser.page()
    page.goto((unpacked / "index.html").as_uri())
    with socket.create_server(("127.0.0.1", 0)) as beacon:
        beacon.settimeout(0.3)
        place = f"http://127.0.0.1:{beacon.getsockname()[1]}"
        page.look(
            "document.body.insertAdjacentHTML('beforeend', "
            f"`<img src='{place}/i' onerror='document.title=1'><video src='{place}/v'></video>`"
            "+`<style>h1{display:none}</style>`)"
        )
        page.look("window.made = document.createElement('script')")
        page.look("made.textContent = 'document.title = 2'; document.body.append(made); 0")
        with pytest.raises(TimeoutError):
            beacon.accept()
    assert page.look("document.title") == "Your data"
    assert page.look("getComputedStyle(document.querySelector('h1')).display") == "block"


def test_values_are_read_as_they_are_and_turn_nothing_around(browser: Chromium, unpacked: Path) -> None:
    page = browser.page()
    page.goto((unpacked / "events" / "0001.html").as_uri())
    text = page.text()
    for harmful in HARMFUL[:6]:
        assert harmful in text
    kinds = page.look(
        "[...new Set([...document.querySelectorAll('bdi')].map(e => getComputedStyle(e).unicodeBidi))]"
    )
    assert kinds == ["isolate"]
    outside = page.look(
        "(() => { const body = document.body.cloneNode(true);"
        " body.querySelectorAll('bdi').forEach(e => e.remove()); return body.innerText })()"
    )
    assert not set("\u202e\u2066\u2067\u200f\u061c") & set(outside)


def test_one_finds_ones_way_by_links(browser: Chromium, unpacked: Path) -> None:
    page = browser.page()
    page.goto((unpacked / "index.html").as_uri())
    for words, title in (
        ("Page 2", "Events, page 2 of 3"),
        ("Older", "Events, page 3 of 3"),
        ("Overview", "Your data"),
    ):
        page.look(f"[...document.querySelectorAll('a')].find(one => one.textContent === '{words}').click()")
        page.loaded()
        assert page.look("document.title") == title
    levels = page.look("[...document.querySelectorAll('h1,h2')].map(one => one.tagName).join('')")
    assert levels.startswith("H1H2")
    assert levels.count("H1") == 1
