"""Asking for an archive and reading it, as its person does."""

from __future__ import annotations

import io
import time
import zipfile
from typing import Any

import msgspec
from caller import Caller

PATIENCE = 30.0
ADA = "ada.lovelace@example.org"
HARMFUL = (
    "<script>document.title='run'</script>",
    "</style><style>*{display:none}</style>",
    "</bdi></td></table><img src=x onerror=document.title='run'>",
    '" onmouseover="document.title=1" x="',
    "' autofocus onfocus='document.title=1",
    "<a href=javascript:alert(1)>here</a>",
    "<iframe src=https://example.org/></iframe>",
    "<base href=https://example.org/><form action=/x><button>go</button></form>",
    "<meta http-equiv=refresh content=0;url=https://example.org/>",
    "https://example.org/?beacon",
    '=HYPERLINK("https://example.org","x")',
    "+cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "-2+3",
    "\t=1+1",
    "../../../etc/passwd",
    "..\\..\\windows\\system32",
    "/etc/passwd",
    "aux\x00.json",
    "\u202etxt.exe\u202c",
    "\u2066\u2067\u200f\u061c",
    "{{7*7}}${7*7}#{7*7}",
    "]]><!--",
    "\U0001f600\ufeff\u2028\u2029",
    "x" * 5_000,
)  # fmt: skip
"""Data of somebody who means harm to whoever reads it."""


class Opened:
    """An archive, unpacked in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._zip = zipfile.ZipFile(io.BytesIO(data))
        self.names = self._zip.namelist()
        assert self._zip.testzip() is None

    def raw(self, name: str) -> bytes:
        """Return a file."""
        return self._zip.read(name)

    def json(self, name: str) -> Any:
        """Return a file of JSON, decoded."""
        return msgspec.json.decode(self.raw(name))

    def matching(self, start: str, end: str) -> list[str]:
        """Return the names that begin and end so, in order."""
        return sorted(name for name in self.names if name.startswith(start) and name.endswith(end))

    @property
    def events(self) -> list[Any]:
        """All events, the newest first."""
        return [event for name in self.matching("events/", ".json") for event in self.json(name)]

    @property
    def values(self) -> set[tuple[str, Any]]:
        """(type, value) of every identifier."""
        return {(one["type"], one["value"]) for one in self.json("identifiers.json")}

    @property
    def traits(self) -> dict[str, Any]:
        """Trait → value."""
        return {one["name"]: one["value"] for one in self.json("profile.json")["traits"]}

    @property
    def everything(self) -> str:
        """The text of every file."""
        return "\n".join(self.raw(name).decode() for name in self.names)


def ask(caller: Caller, value: str = ADA, *, type_: str = "email", kind: str = "access") -> str:
    """Open a request on behalf of somebody and return its id."""
    body = {"identifier": {"type": type_, "value": value}, "kind": kind}
    return str(caller.api("POST", "/rights/requests", body)["id"])


def worked_on(caller: Caller, request_id: str) -> str:
    """Have a request worked on to its end and return its state."""
    until = time.monotonic() + PATIENCE
    while True:
        caller.services.rights.advance()  # beside the server's own clockwork
        state = str(caller.api("GET", f"/rights/requests/{request_id}")["state"])
        if state != "in_progress":
            return state
        assert time.monotonic() < until, "the request is not met"
        time.sleep(0.02)


def fetched(caller: Caller, request_id: str, *, expect: int = 200) -> bytes:
    """Return what an officer gets of a request's archive."""
    headers = {"Authorization": f"Bearer {caller.operator_key}"}
    answer = caller.http.get(f"/api/v1/rights/requests/{request_id}/archive", headers=headers)
    assert answer.status_code == expect, (answer.status_code, answer.text[:500])
    return answer.content


def archive_of(caller: Caller, value: str = ADA, *, type_: str = "email", kind: str = "access") -> Opened:
    """Ask for somebody's archive, wait for it, and open it."""
    request_id = ask(caller, value, type_=type_, kind=kind)
    assert worked_on(caller, request_id) == "fulfilled"
    return Opened(fetched(caller, request_id))


def hostile(messages: int = 1) -> list[dict[str, Any]]:
    """Return messages with every harmful text as value, name and part of a name, as far as it is taken in."""
    texts = [text for text in HARMFUL if "\x00" not in text]
    properties = {f"v{place}": text for place, text in enumerate(texts)}
    names = {text[:200]: "n" for text in texts}
    return [
        {
            "type": "track",
            "messageId": f"h{number}",
            "timestamp": f"2026-02-28T11:{number:02d}:00Z",
            "userId": "ada",
            "event": "<script>document.title='run'</script>",
            "properties": {**properties, **names, "deep": {"<b>": [{"<i>": text} for text in texts]}},
            "context": {"page": {"title": texts[0], "<u>": texts[1]}, texts[2]: texts[3]},
        }
        for number in range(messages)
    ]


def identify() -> dict[str, Any]:
    traits = {"email": ADA, "nickname": HARMFUL[2], "<b onclick=x>": "named", "formula": "=1+1"}
    return {"type": "identify", "messageId": "i", "userId": "ada", "traits": traits}
