"""An archive of somebody whose data was written to do harm to whoever reads it."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
from archives import ADA, HARMFUL, Opened, archive_of, hostile, identify
from caller import Caller
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from platform_fixtures import Shell

from cdp.cli.client import connected
from cdp.rights.archive import page, portable
from cdp.rights.archive.model import Event
from cdp.settings import Settings

FIXED = re.compile(
    r"(?:index\.html|(?:manifest|identifiers|profile|consents|conclusions|recipients|uses|requests|lists|waiting"
    r"|meanings|schema)\.json|events/\d{4}\.(?:json|html)|receipts/(?:\d{6}|key)\.json"
    r"|portable/(?:profile|events-\d{4})\.(?:json|csv))"
)
OURS = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "h1",
        "h2",
        "p",
        "nav",
        "ul",
        "li",
        "a",
        "section",
        "div",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "bdi",
        "span",
        "dl",
        "dt",
        "dd",
    ]
)
ATTRIBUTES = frozenset(
    ["lang", "dir", "charset", "http-equiv", "content", "name", "scope", "class", "id", "href"]
)


class Read(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.text: list[str] = []
        self.values: list[str] = []
        self._within: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(attrs)
        if tag != "meta":
            self._within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._within.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if "bdi" in self._within:
            self.values.append(data)


def opened_of(caller: Caller) -> Opened:
    caller.send(identify(), *hostile())
    opened = archive_of(caller)
    assert {one["type"] for one in opened.events} == {"identify", "track"}
    return opened


def test_values_come_back_to_the_letter_in_json(caller: Caller) -> None:
    opened = opened_of(caller)
    (event,) = (one for one in opened.events if one["type"] == "track")
    (sent,) = hostile()
    assert event["properties"] == sent["properties"]
    assert event["context"] == sent["context"]
    assert event["name"] == sent["event"]
    assert opened.traits["nickname"] == HARMFUL[2]


def test_no_file_has_a_name_that_came_from_somebody(caller: Caller) -> None:
    opened = opened_of(caller)
    assert [name for name in opened.names if not FIXED.fullmatch(name)] == []
    assert len(set(opened.names)) == len(opened.names)


def test_no_page_holds_anything_that_could_do_something(caller: Caller) -> None:
    opened = opened_of(caller)
    pages = opened.matching("", ".html")
    assert pages == ["events/0001.html", "index.html"]
    for name in pages:
        read = Read(opened.raw(name).decode())
        assert read.tags <= OURS
        for key, value in read.attributes:
            assert key in ATTRIBUTES
            assert key != "href" or re.fullmatch(r"#\w+|(?:events/|\.\./)?(?:\d{4}|index)\.html", value or "")
        assert ("content", page.CSP) in read.attributes
        assert "default-src 'none'" in page.CSP
        assert "unsafe" not in page.CSP


def test_no_spreadsheet_runs_what_is_in_a_table(caller: Caller) -> None:
    opened = opened_of(caller)
    for name in opened.matching("portable/", ".csv"):
        for row in csv.reader(io.StringIO(opened.raw(name).decode(), newline="")):
            assert [cell for cell in row if re.match(r"[=+@\t\r]|-(?![0-9 .,()/-]*$)", cell)] == []


def test_a_broken_message_that_waits_is_shown_as_text(caller: Caller) -> None:
    """One with NUL, one that is no event, one with half a surrogate pair."""
    half = b'{"type":"track","userId":"ada","event":"x","properties":{"a":"\\ud800"}}'
    content = b'{"batch":[' + half + b"]}"
    assert caller.http.post("/v1/batch", content=content, auth=(caller.write_key(), "")).status_code == 200
    track = {"type": "track", "userId": "ada"}
    odd = {**track, "messageId": "q1", "event": 7, "properties": {"a": "<script>run</script>", "b": "\x00"}}
    caller.send(
        identify(), odd, {**track, "messageId": "q2", "event": "x", "properties": {"nul\x00": "\x00"}}
    )
    opened = archive_of(caller)
    waiting = [one["message"] for one in opened.json("waiting.json")]
    assert half.decode() in waiting
    assert odd in [msgspec.json.decode(one) for one in waiting if one != half.decode()]
    shown = opened.raw("index.html")
    assert b"<script" not in shown
    assert b"\x00" not in shown


# -- pure -------------------------------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=12,
)


@bounded(max_examples=150)
@given(st.text(max_size=300))
def test_any_text_stands_in_a_page_as_itself(text: str) -> None:
    read = Read(page.value(text))
    shown = "".join(read.values)
    assert read.tags == {"bdi"}
    assert not read.attributes
    assert shown == text.translate(page._CONTROLS)


@bounded(max_examples=150)
@given(anything)
def test_any_value_leaves_only_our_tags_and_all_of_them_closed(value: Any) -> None:
    read = Read(page.table(["a"], [[value]]) or "<p></p>")
    assert read.tags <= OURS
    assert {key for key, _ in read.attributes} <= {"scope", "class"}
    assert not read._within


@bounded(max_examples=150)
@given(st.dictionaries(st.text(max_size=30), anything, max_size=5))
def test_any_event_comes_back_from_json_and_harmless_from_csv(properties: dict[str, Any]) -> None:
    event = Event(
        id="00", type="track", name="x", occurred_at="", received_at="", source=None, source_kind=None,
        identifier=1, properties=properties,
    )  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode([event]), type=list[Event]) == [event]
    rows = list(csv.reader(io.StringIO(portable.events_csv([event]).decode(), newline="")))[1:]
    assert len(rows) == max(1, len(properties))
    for row, (name, value) in zip(rows, properties.items(), strict=False):
        assert row[6].removeprefix("'") == name.removeprefix("'")
        if isinstance(value, list | dict):
            assert msgspec.json.decode(row[7]) == value
        elif isinstance(value, str):
            assert row[7].removeprefix("'") == value.removeprefix("'")


def test_what_is_nested_deeper_than_a_page_shows_stands_there_as_json() -> None:
    shown = page.value([[[[[[[[[["deep"]]]]]]]]]])
    assert shown.count("<ul>") == 8
    assert Read(shown).values == ['[["deep"]]']


# -- the command ------------------------------------------------------------------------------------


def test_the_command_writes_a_new_file_for_its_owner_alone(
    settings: Settings, shell: Shell, tmp_path: Path
) -> None:
    with connected(settings) as api:
        key = api.post("/sources", {"name": "shop", "kind": "server"})["write_key"]
        api.ingest(key, [identify()])
        body = {"identifier": {"type": "email", "value": ADA}, "kind": "access"}
        request_id = api.post("/rights/requests", body)["id"]
        other = api.post("/rights/requests", {**body, "kind": "rectification"})["id"]
    out = tmp_path / "ada.zip"
    printed = shell("rights", "archive", request_id, "--out", out)
    assert "SHA-256" in printed
    assert ADA not in printed
    assert out.stat().st_mode & 0o777 == 0o600
    assert ("email", ADA) in Opened(out.read_bytes()).values
    taken = out.read_bytes()
    assert shell("rights", "archive", request_id, "--out", out, expect=1)
    assert out.read_bytes() == taken
    none = tmp_path / "none.zip"
    assert "no archive" in shell("rights", "archive", other, "--out", none, expect=1)
    shell("rights", "archive", "r_unknown", "--out", none, expect=1)
    assert not none.exists()
