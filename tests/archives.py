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
