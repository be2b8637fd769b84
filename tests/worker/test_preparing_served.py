"""`cdp serve` with processes that prepare for it: all is as without them, whatever becomes of them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families
from served import served
from sqlalchemy import text

from cdp import app
from cdp.access import Principal
from cdp.policy import read_folder
from cdp.settings import Settings
from cdp.store import Store

POLICIES = Path(__file__).parents[2] / "policies"
_SECONDS = 30.0
_FEW, _MANY = 8, 24
_APART = "cdp_ingest_prepared_apart_total"
_PASSING = ("_at", "_seen", "id", "source", "since", "record", "receipt")
_ORDER = {"type": "object", "properties": {"revenue": {"type": "number"}}}


class Desk:
    """The operator of a server, and its sources."""

    def __init__(self, settings: Settings, url: str) -> None:
        key = (settings.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
        self.http = httpx.Client(base_url=url, timeout=_SECONDS)
        self._bearer = {"Authorization": f"Bearer {key}", "CDP-Purpose": "data_quality"}

    def api(self, method: str, path: str, body: object = None) -> Any:
        answer = self.http.request(method, f"/api/v1{path}", headers=self._bearer, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def source(self, name: str) -> str:
        key = self.api("POST", "/sources", {"name": name})["write_key"]
        assert isinstance(key, str)
        return key

    def send(self, key: str, messages: list[Any]) -> None:
        body = {"batch": messages, "sentAt": "soon", "context": {"locale": "en", "any": {"n": 2**63}}}
        answer = self.http.post("/v1/batch", content=msgspec.json.encode(body), auth=(key, ""))
        assert answer.status_code == 200, answer.text

    def metrics(self) -> dict[str, float]:
        """Return each count by its name and labels."""
        families = text_string_to_metric_families(self.http.get("/metrics").text)
        return {
            " ".join([sample.name, *sample.labels.values()]): sample.value
            for family in families
            for sample in family.samples
            if sample.name.endswith("_total")
        }

    def apart(self) -> float:
        return self.metrics()[_APART]

    def wait_for_preparers(self, key: str) -> None:
        """Send until a process beside the server has prepared something."""
        before = self.apart()
        warm = [{"type": "track", "event": "Warm", "userId": "u-warm", "messageId": "warm"}] * _MANY

        def prepared() -> bool:
            self.send(key, warm)
            return self.apart() > before

        wait_for(prepared)


@contextmanager
def desk(settings: Settings, **more: Any) -> Iterator[tuple[Desk, int]]:
    """Yield the desk of a server, and the number of its process."""
    with served(settings, **more) as (url, process):
        made = Desk(settings, url)
        with closing(made.http):
            yield made, process.pid


def wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + _SECONDS
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def offspring(pid: int) -> list[int]:
    """Return the processes that one started, and that those did."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text(encoding="ascii").split())
    return [pid for one in found for pid in (one, *offspring(one))]


def preparers(pid: int) -> list[int]:
    """Return the processes that prepare for a server."""
    return [one for one in offspring(pid) if alive(one) and ignores(one, signal.SIGINT)]


def alive(pid: int) -> bool:
    try:
        return b"cdp.beside" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def ignores(pid: int, number: int) -> bool:
    """Return whether a process ignores a signal, as one that prepares does once it has begun."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    mask = next((line.split()[1] for line in lines if line.startswith("SigIgn:")), "0")
    return bool(int(mask, 16) >> (number - 1) & 1)


def mix(who: str) -> list[Any]:
    """Return what may come in one call, of plainly fictional customers."""

    def track(number: int, **more: Any) -> dict[str, Any]:
        named = {"event": "Order Completed", "userId": f"u1-{who}", "messageId": f"{who}{number}"}
        return {"type": "track", "timestamp": "2026-02-01T12:00:00Z", **named, **more}

    ada = {
        "email": f"ada-{who}@example.com",
        "plan": "gold",
        "firstName": "Ada",
        "phone": f"+44207946095{len(who)}",
    }
    no = {"consent": {"categoryPreferences": {"Advertising": False}}}
    found = [
        {"type": "identify", "userId": f"u1-{who}", "anonymousId": f"a1-{who}", "traits": ada,
         "messageId": f"{who}identify"},
        track(1, properties={"revenue": 42.5, "currency": "EUR", "coupon": "x"}),
        track(1, properties={"revenue": 42.5}),  # the same message again
        track(2, properties={"revenue": "much"}),  # which does not fit the plan
        track(3, event="Product Viewed", properties={"price": "cheap", "name": "Tea"}),  # another type
        track(4, event=f"ada-{who}@example.com"),
        track(5, timestamp="1799-01-01T00:00:00Z"),
        track(6, timestamp="yesterday", sentAt="2026-02-01T12:00:00Z"),
        track(7, properties={"text": "x" * 40_000}),
        track(8, properties={"text": "x" * 40_000}, context=no, userId=f"u2-{who}"),  # heard all the same
        track(9, context=no),
        track(10, context={"gpp": "nonsense", "consent": {"gpp": "nonsense"}}),
        {"type": "alias", "userId": f"u1-{who}", "previousId": f"u1-{who}", "messageId": f"{who}alias"},
        {"type": "dance", "userId": f"u1-{who}", "messageId": f"{who}dance"},
        {"type": "track", "event": "Seen", "messageId": f"{who}nobody"},
        {"type": "group", "userId": f"u1-{who}", "groupId": "g",
         "messageId": f"{who}g", "traits": {"size": 3}},
    ]  # fmt: skip
    return found + [track(20 + number, event="Seen") for number in range(_MANY - len(found))]


def outcome(settings: Settings, desk: Desk, who: str) -> dict[str, Any]:
    """Return all that is seen of what the source sent, without times and numbers of rows."""
    plan = desk.api("GET", f"/sources/{who}/plan")
    quarantined = desk.api("GET", f"/quarantine?source={who}")["items"]
    profile = desk.api("POST", "/profiles/lookup", {"type": "user_id", "value": f"u1-{who}"})
    other = desk.api("POST", "/profiles/lookup", {"type": "user_id", "value": f"u2-{who}"})
    found = {
        "counts": desk.api("GET", f"/sources/{who}/counts"),
        "catalogue": desk.api("GET", f"/sources/{who}/catalogue"),
        "violations": plan["violations"],
        "quarantine": sorted((one["kind"], one["reason"], one["cause"]) for one in quarantined),
        "profile": profile,
        "consents": [desk.api("GET", f"/profiles/{one['id']}/consents") for one in (profile, other)],
    }
    with closing(Store(settings.database)) as store, store.reading() as connection:
        listed = connection.execute(text("SELECT name, source_id FROM sources"))
        sources: dict[str, int] = {name: number for name, number in listed}  # noqa: C416  # rows are no pairs
        query = text("SELECT type, name, properties, sealed IS NULL FROM events WHERE source_id = :source")
        rows = connection.execute(query, {"source": sources[who]})
        found["events"] = sorted(map(repr, map(tuple, rows)))
    kept: dict[str, Any] = without_times(found, who)
    return kept


def without_times(value: Any, who: str) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item, who) for key, item in value.items() if not key.endswith(_PASSING)}
    if isinstance(value, list | tuple):
        return [without_times(item, who) for item in value]
    return value.replace(who, "…") if isinstance(value, str) else value


def grown(desk: Desk, before: dict[str, float], who: str) -> dict[str, float]:
    """Return by how much each count of the stages grew."""
    kept = ("cdp_ingest_", "cdp_consent_", "cdp_plan_")
    return {
        name.replace(who, "…"): value - before.get(name, 0)
        for name, value in desk.metrics().items()
        if name.startswith(kept) and name != _APART and value != before.get(name, 0)
    }


def test_what_a_process_beside_prepared_is_what_the_server_itself_makes_of_it(settings: Settings) -> None:
    with desk(settings, preparers=1) as (made, _):
        keys = {who: made.source(who) for who in ("here", "beside")}
        for who in keys:
            events = [{"type": "track", "name": "Order Completed", "schema": _ORDER}]
            made.api("PUT", f"/sources/{who}/plan", {"mode": "quarantine", "events": events})
        made.wait_for_preparers(made.source("warm"))
        time.sleep(1.5)  # until what was counted of these is here

        before, apart = made.metrics(), made.apart()
        messages = mix("here")
        for first in range(0, _MANY, _FEW):
            made.send(keys["here"], messages[first : first + _FEW])
        assert made.apart() == apart
        here, counted = outcome(settings, made, "here"), grown(made, before, "here")
        assert {name.split()[0] for name in counted} >= {
            "cdp_ingest_mistyped_total", "cdp_ingest_unused_times_total", "cdp_plan_violations_total",
            "cdp_consent_signals_odd_total", "cdp_ingest_self_aliases_total",
        }  # fmt: skip

        before = made.metrics()
        made.send(keys["beside"], mix("beside"))
        assert made.apart() == apart + _MANY
        wait_for(lambda: grown(made, before, "beside") == counted)
        assert outcome(settings, made, "beside") == here

        events = [{"type": "track", "name": "Seen", "schema": {"type": "object", "required": ["x"]}}]
        made.api("PUT", "/sources/beside/plan", {"mode": "block", "events": events})
        before = made.metrics()
        made.send(keys["beside"], [{"type": "track", "event": "Seen", "userId": "u9"}] * _MANY)  # at once
        assert made.apart() == apart + 2 * _MANY
        refused = "cdp_ingest_events_total refused"
        assert made.metrics()[refused] - before.get(refused, 0) == _MANY


class Load:
    """Clients that send calls of many events until they are told to stop; each must be answered 200."""

    def __init__(self, desk: Desk, key: str) -> None:
        self._desk, self._key = desk, key
        self.calls = 0
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._threads = ThreadPoolExecutor(4)
        self._clients = [self._threads.submit(self._run, number) for number in range(4)]

    def _run(self, number: int) -> None:
        for call in range(100_000):
            if self._ending.is_set():
                return
            self._desk.send(self._key, people(f"{number}-{call}"))
            with self._lock:
                self.calls += 1

    def wait(self, more: int) -> None:
        enough = self.calls + more
        wait_for(lambda: self.calls >= enough or any(client.done() for client in self._clients))

    def end(self) -> None:
        self._ending.set()
        for client in self._clients:
            client.result(_SECONDS)
        self._threads.shutdown()


def people(call: str) -> list[dict[str, Any]]:
    named = ((f"u{call}-{number}", f"{call}/{number}") for number in range(_MANY))
    return [
        {"type": "identify", "userId": user, "messageId": id_, "traits": {"plan": "gold"}}
        for user, id_ in named
    ]


def clear_plans(settings: Settings) -> tuple[int, int]:
    """Return how many plans are kept, and of how many the value is clear."""
    query = text("SELECT count(*), count(value) FROM trait_observations WHERE name = 'plan'")
    with closing(Store(settings.database)) as store, store.reading() as connection:
        kept, clear = connection.execute(query).one()
    return kept, clear


def seal_plans(settings: Settings) -> None:
    """Have the policies seal a trait from now on."""
    files = read_folder(POLICIES)
    rule = b"plan: {category: user.account, protection: "
    assert rule + b"clear" in files["fields.yaml"]
    files["fields.yaml"] = files["fields.yaml"].replace(rule + b"clear", rule + b"sealed", 1)
    officer = Principal(key_id=1, name="one", roles=frozenset({"officer"}), purposes=frozenset({"*"}))
    alone = msgspec.structs.replace(settings, four_eyes=False)
    with closing(app.build(alone)) as platform:
        services = platform.services
        candidate = services.policies.check(files)
        services.policies.propose(officer, candidate, files, services.bundle.sha256, {}, {})
        services.policies.approve(officer, candidate.sha256)


def test_whatever_becomes_of_them_every_call_is_answered_and_counts_once(settings: Settings) -> None:
    with desk(settings, preparers=2) as (made, server):
        key = made.source("shop")
        made.wait_for_preparers(made.source("warm"))
        wait_for(lambda: len(preparers(server)) == 2)
        load = Load(made, key)
        for pid in preparers(server):
            os.kill(pid, signal.SIGINT)  # as Ctrl-C for the whole group
            os.kill(pid, signal.SIGTERM)  # as a service manager
        before = preparers(server)
        load.wait(8)
        assert preparers(server) == before, "they wait for the server"
        seal_plans(settings)
        load.wait(8)
        _, sealed_from = clear_plans(settings)
        for _ in range(2):
            os.kill(preparers(server)[0], signal.SIGKILL)
            load.wait(8)
        wait_for(lambda: len(preparers(server)) == 2)
        apart = made.apart()
        wait_for(lambda: made.apart() > apart)
        load.end()
        kept, clear = clear_plans(settings)
        assert kept == load.calls * _MANY
        assert 0 < clear < kept
        assert clear == sealed_from, "nothing is judged by the policies of before"

        running = [one for one in offspring(server) if alive(one)]
        for pid in (server, *(one for one in offspring(server) if one not in running)):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(map(alive, running)))
