"""A report as a page and on the command line: everything is shown, and nothing in it does anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from caller import Caller
from platform_fixtures import Shell
from report_world import deliver, identify

from cdp.reports import outline, page

HARM = '<img src=x onerror="document.title=1">'
FORMULA = '=HYPERLINK("http://evil.example","x")'
REPORT = {
    "report": "test",
    "title": f"{HARM} title",
    "period": {"from": "a", "to": "b"},
    "notes": ["one", HARM],
    "rows": [{"name": FORMULA, "count": -3}, {"name": HARM, "count": None, "more": {"a": 1}}],
    "none_of_it": [],
    "activities": [{"purpose": HARM, "data": [{"name": "x", "how": ["clear"]}], "times": 2}],
}


def test_an_outline_has_everything_that_the_report_has() -> None:
    found = {section.title: section for section in outline(REPORT)}
    assert dict(found[REPORT["title"]].facts)["Notes"] == ["one", HARM]  # type: ignore[index]  # a text
    assert found["Rows"].columns == ("Name", "Count", "More")
    assert found["Rows"].rows[0] == (FORMULA, -3, None)
    assert found["None of it"].empty
    assert (found[HARM].level, dict(found[HARM].facts)) == (3, {"Times": 2})
    assert found["Data"].level == 4


def test_everything_is_escaped_and_nothing_runs_in_a_spreadsheet() -> None:
    made = page(REPORT).decode()
    assert "<img" not in made
    assert "&lt;img" in made
    assert "<bdi>&#39;=HYPERLINK" in made
    assert "<bdi>-3</bdi>" in made
    assert re.findall(r"<(script|link|img|iframe|form|object|embed|base|svg)", made) == []
    assert re.findall(r"\b(?:src|href|action|srcset)=", made.replace(HARM, "").replace("src=x", "")) == []
    assert "default-src &#39;none&#39;" in made or "default-src 'none'" in made


def test_a_report_is_a_page_for_whoever_asks_for_one(caller: Caller) -> None:
    name = '<b>="xxx'
    made = caller.api("POST", "/sources", {"name": name, "kind": "server"})
    message = {**identify("ada"), "event": "x"}
    answer = caller.http.post("/v1/identify", json=message, auth=(made["write_key"], ""))
    assert answer.status_code == 200
    headers = {"Authorization": f"Bearer {caller.operator_key}", "Accept": "text/html,*/*;q=0.8"}
    path = "/api/v1/reports/blast-radius"
    shown = caller.http.get(path, params={"source": name}, headers=headers)
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    policy = shown.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert shown.headers["cache-control"] == "no-store"
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert "&lt;b&gt;=&#34;xxx" in shown.text
    assert "<b>" not in shown.text
    asked = caller.http.get(path, params={"source": name, "format": "json"}, headers=headers)
    assert asked.json()["scope"] == {"source": name}
    refused = caller.http.get(path, params={"format": "html"}, headers=headers)
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")


def test_reports_and_the_queue_on_the_command_line(caller: Caller, shell: Shell, tmp_path: Path) -> None:
    deliver(caller, "ada")
    made = shell("report", "processing")
    assert "Records of processing activities" in made
    assert "Paper Plane Mail" in made
    assert '"declared_but_unused"' in shell("report", "processing", "--json")
    assert "germans" in shell("report", "audience-loss", "--by", "month", "--from", "2026-02-01")
    file = tmp_path / "report.html"
    assert str(file) in shell("report", "blast-radius", "--destination", "mailer", "--html", file)
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "cannot be written" in shell("report", "notices", "--html", tmp_path / "no" / "x", expect=1)
    assert "never was" in shell("report", "blast-radius", "--destination", "nobody", expect=1)
    assert "severity" in shell("queue")
    assert shell("queue", "--json").strip().startswith("[")


@pytest.mark.parametrize("value", ["\u202eevil", "\u2067x", "@x", "\t=x"])
def test_a_value_stands_for_itself_alone(value: str) -> None:
    made = page({"title": "t", "rows": [{"name": value}]}).decode()
    shown = value if value[0] in "\u202e\u2067" else f"&#39;{value}"
    assert f"<td><bdi>{shown}</bdi></td>" in made
