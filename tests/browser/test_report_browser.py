"""A report in a real browser, as a file that an officer saved: it is drawn, and nothing in it happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import EXECUTABLE, Chromium

from cdp.reports import page

pytestmark = pytest.mark.skipif(
    EXECUTABLE is None, reason="install Debian's chromium for the tests in a browser (.ci/run does)"
)
HARM = '"><script>document.title="run"</script><img src=http://127.0.0.1:9/x onerror=document.title="run">'
REPORT = {
    "title": "A report",
    "of": HARM,
    "rows": [{"name": "\u202eevil", "purpose": HARM}, {"name": "b", "purpose": "c"}],
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One browser for the file."""
    with Chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


def test_a_saved_report_is_drawn_and_runs_nothing(browser: Chromium, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_bytes(page(REPORT))
    tab = browser.page()
    tab.width(320)
    tab.goto(file.as_uri())
    assert tab.look("document.title") == "A report"
    assert tab.look("document.querySelectorAll('script,img,link,iframe,form').length") == 0
    assert tab.look("getComputedStyle(document.querySelector('table')).borderCollapse") == "collapse"
    assert tab.requests == [file.as_uri()]
    assert tab.problems == []
    assert HARM in tab.text()
    tab.look("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">')")
    assert tab.look("document.title") == "A report", "the page forbids what would slip in"
    assert tab.look("document.documentElement.scrollWidth") <= 320
