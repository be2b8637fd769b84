"""The real clients: where they are, how they are started, and what the server they call writes down of it.

Each scenario has a source of its own, named ``client.scenario``, so that all clients run at once against one
server and each is still seen alone.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import msgspec
import pytest
from served import served

from cdp import app
from cdp.settings import Settings

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
PATIENCE = 120.0
DRIVERS: dict[str, tuple[str, ...]] = {
    "segment-python": (sys.executable, "drive_python.py", "segment"),
    "rudder-python": (sys.executable, "drive_python.py", "rudderstack"),
    "segment-node": ("node", "drive_segment.mjs"),
    "rudder-node": ("node", "drive_rudder.cjs"),
    "rudder-worker": ("node", "drive_worker.mjs"),
}
"""Client → the program that drives it, and for whom."""


class Call(msgspec.Struct, kw_only=True):
    """One call of a client, and what it was answered (``scripted_server.py``)."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    at: float
    status: int
    answer: dict[str, str]

    def text(self) -> str:
        """Return the body as sent before compression."""
        packed = "gzip" in self.headers.get("content-encoding", "")
        return (gzip.decompress(self.body) if packed else self.body).decode()

    def json(self) -> Any:
        """Return the body, decoded."""
        return json.loads(self.text())

    @property
    def basic(self) -> str:
        """The user and password of HTTP Basic."""
        scheme, _, rest = self.headers.get("authorization", "").partition(" ")
        return base64.b64decode(rest).decode() if scheme == "Basic" else ""

    def speaks_for(self, key: str) -> bool:
        """True when it carries a write key, wherever."""
        told = self.basic == f"{key}:" or key in self.path or key in self.query
        return told or key in (self.text() if self.body else "")


class Server:
    """The server, as its admin and as the tests' eye in it."""

    def __init__(self, url: str, operator_key: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {operator_key}"})
        self.keys: dict[str, str] = {}

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def key(self, source: str, kind: str) -> str:
        """Return the write key of a source, made when it is first asked for."""
        if source not in self.keys:
            made = self._http.post("/api/v1/sources", json={"name": source, "kind": kind})
            self.keys[source] = made.json()["write_key"]
        return self.keys[source]

    def script(self, steps: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Say what becomes of the next calls of sources."""
        assert self._http.post("/_script", json=steps).status_code == 200

    def calls(self, source: str, method: str = "") -> list[Call]:
        """Return the calls with the write key of a source, in their order."""
        found = msgspec.convert(self._written()["calls"], list[Call])
        return [call for call in found if call.speaks_for(self.keys[source]) and method in {"", call.method}]

    def preflights(self, path: str) -> list[Call]:
        """Return what browsers asked before they called a path."""
        found = msgspec.convert(self._written()["calls"], list[Call])
        return [call for call in found if (call.method, call.path) == ("OPTIONS", path)]

    def events(self, source: str) -> list[Any]:
        """Return what the platform read in the calls of a source."""
        return [event for name, event in self._written()["events"] if name == source]

    def taken(self, source: str) -> list[str]:
        """Return the ids of the messages in the calls of a source that were answered 200."""
        fine = [call for call in self.calls(source, "POST") if call.status == 200]
        bodies = [call.json() for call in fine if call.path != "/v1/m"]
        return [event["messageId"] for body in bodies for event in body.get("batch", [body])]

    def _written(self) -> Any:
        return msgspec.json.decode(self._http.get("/_written").content)

    def stored(self, source: str, user: str) -> list[Any]:
        """Return the events of a user that are in the store and came of one source."""
        return [event for event in self.told(user) if event["source"] == source]

    def told(self, user: str) -> list[Any]:
        """Return the events of a user that are in the store."""
        headers = {"CDP-Purpose": "data_quality"}
        who = {"type": "user_id", "value": user}
        found = self._http.post("/api/v1/profiles/lookup", json=who, headers=headers).json()
        events: list[Any] = []
        after: str | None = ""
        while after is not None:
            path = f"/api/v1/profiles/{found['id']}/events"
            params = {"limit": "500", **({"cursor": after} if after else {})}
            page = self._http.get(path, params=params, headers=headers).json()
            events += page["items"]
            after = page["next"]
        return events


@contextmanager
def scripted(settings: Settings) -> Iterator[Server]:
    """Yield a server that writes down what it is called with; it ends with the block."""
    key = (settings.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
    program = [str(HERE / "scripted_server.py")]
    with served(settings, program) as (url, _), closing(Server(url, key)) as server:
        yield server


def need_node() -> None:
    """Skip the test where the clients for Node are not there."""
    node = shutil.which("node")
    version = "" if node is None else subprocess.check_output([node, "--version"], text=True)
    if not re.match(r"v(2\d|[3-9]\d)\.", version):
        pytest.skip("install Node >= 20, which the clients of tests/clients need")
    if not MODULES.is_dir():
        pytest.skip("run `make clients`, which installs the clients of tests/clients/package.json")


@contextmanager
def started(
    server: Server, scenarios: Mapping[str, Sequence[str]], outside: Path
) -> Iterator[dict[str, Any]]:
    """Run clients at once through their scenarios; what each said is in what it yields after the block.

    :param outside: an empty folder to run in.
    """
    running = []
    for client, names in scenarios.items():
        program, script, *vendor = DRIVERS[client]
        keys = {name: server.key(f"{client}.{name}", "server") for name in names}
        keys |= {name: "unknown-key" for name in names if name == "denied"}
        told = json.dumps({"url": server.url, "keys": keys, "vendor": "".join(vendor)})
        environment = {"PATH": os.environ["PATH"], "TZ": "UTC", "HOME": str(outside)}
        command = [program, str(HERE / script), told]
        running.append(
            subprocess.Popen(command, cwd=outside, env=environment, stdout=subprocess.PIPE, text=True)
        )
    said: dict[str, Any] = {}
    yield said
    for client, process in zip(scenarios, running, strict=True):
        printed, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, client
        said |= {f"{client}.{name}": words for name, words in json.loads(printed).items()}


def run(server: Server, scenarios: Mapping[str, Sequence[str]], outside: Path) -> dict[str, Any]:
    """Run clients at once through their scenarios; returns what each said, by source."""
    with started(server, scenarios, outside) as said:
        pass
    return said


# -- golden files -------------------------------------------------------------------------------------

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[\d.]*(?:Z|[+-]\d\d:?\d\d)")
_PLACE = re.compile(r"127\.0\.0\.1(?::|%3A)\d+")
_KEY = re.compile(r"(?<=[?&]key=)[\w-]+")  # in the address of a test's page
_OF_CHANCE = ((_UUID, "<uuid>"), (_TIME, "<time>"), (_PLACE, "<host>"), (_KEY, "<key>"))
_OF_THE_MACHINE = frozenset(
    {"userAgent", "userAgentData", "user-agent", "timezone", "screen", "network", "os", "sessionId", "locale"}
)


def canonical(value: Any) -> Any:
    """Return what a client said without what chance, the clock and the machine put into it."""
    if isinstance(value, dict):
        return {
            name: f"<{name}>" if name in _OF_THE_MACHINE else canonical(below)
            for name, below in sorted(value.items())
        }
    if isinstance(value, list | tuple):
        return [canonical(below) for below in value]
    if isinstance(value, str):
        for pattern, name in _OF_CHANCE:
            value = pattern.sub(name, value)
    return value


def compare(request: pytest.FixtureRequest, name: str, events: Sequence[Any]) -> None:
    """Hold events against their golden file; ``--golden`` writes it first."""
    file = HERE / "golden" / f"{name}.json"
    found = canonical(sorted(events, key=_place))
    if request.config.getoption("--golden"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    assert found == json.loads(file.read_text()), f"{name}: `make test ARGS='tests/clients --golden'` anew?"


def _place(event: Any) -> tuple[str, ...]:
    """Return by what events are sorted, as browsers send several calls at once."""
    return event["type"], event["name"], str(dict(event["identifiers"]).get("user_id"))


def query(call: Call) -> dict[str, str]:
    """Return the parameters of a call."""
    return {name: values[-1] for name, values in parse_qs(call.query).items()}
