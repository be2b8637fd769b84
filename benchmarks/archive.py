"""``python -m benchmarks.archive``: how long it takes until somebody has what is kept of them.

One person with 10,000 events of a dozen properties, half of them sealed, 100 releases that held them and 50
consents, among others of whom less is known. Beside it the least that anything would have to do: read and
decode the same rows, open what is sealed, and compress the JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
from sqlalchemy import select

from benchmarks.databases import fresh_databases
from benchmarks.server import served
from cdp import app
from cdp.api import Services
from cdp.crypto import Place, open_sealed
from cdp.ingest.tables import events
from cdp.settings import Settings

EMAIL = "marketing.communications.email"
ADDRESS = "ada@mail.example"
DAY = 86_400
AT_ONCE = 500


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive", description=__doc__)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--exports", type=int, default=100)
    arguments = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    figures = {store: _run(store, arguments.events, arguments.exports) for store in arguments.stores}
    print(json.dumps(figures, indent=2))


def _run(store: str, count: int, exports: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="cdp-bench-") as name:
        folder = Path(name)
        with fresh_databases(store, folder) as (database, keys):
            settings = Settings(data_dir=folder, database_url=database, keys_database_url=keys)
            app.initialise(settings)
            with served(settings) as (url, _):
                key = (folder / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
                request = _fill(url, key, count, exports)
                waited = _waited(url, key, request)
            with closing(app.build(settings)) as platform, app.calm_collector():
                return waited | _apart(platform.services)


def _fill(url: str, key: str, count: int, exports: int) -> str:
    """Tell the server of the person; returns what opens the request."""
    headers = {"Authorization": f"Bearer {key}", "CDP-Purpose": "rights"}
    with httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=120) as http:

        def call(path: str, body: object, method: str = "POST") -> Any:
            return http.request(method, path, json=body).raise_for_status().json()

        source = call("/sources", {"name": "shop", "kind": "server"})["write_key"]
        messages = [{"type": "identify", "userId": "ada", "traits": {"email": ADDRESS, "country": "Ireland"}}]
        messages += [_event(number) for number in range(count)]
        for start in range(0, len(messages), AT_ONCE):
            batch = {"batch": messages[start : start + AT_ONCE], "writeKey": source}
            wait = "?wait=warehouse" if start + AT_ONCE >= len(messages) else ""
            http.post(f"{url}/v1/batch{wait}", json=batch).raise_for_status()
        who = [{"type": "email", "value": ADDRESS}]
        for number in range(51):
            state = "withdrawn" if number % 2 else "granted"
            call("/consents", {"identifiers": who, "purpose": EMAIL, "state": state})
        call("/segments/irish", {"where": {"trait": "country", "op": "eq", "value": "Ireland"}}, "PUT")
        asked = {"segment": "irish", "destination": "mailer", "purpose": EMAIL, "fields": ["email"]}
        for _ in range(exports):
            call("/exports", asked)
    return json.dumps({"identifier": {"type": "email", "value": ADDRESS}, "kind": "access"})


def _event(number: int) -> dict[str, Any]:
    products = [{"product_id": f"p{number % 97}", "price": 9.5, "engraving": f"No. {number}"}]
    return {
        "type": "track",
        "event": ("Product Viewed", "Order Completed", "Read a Chapter")[number % 3],
        "messageId": f"e{number}",
        "userId": "ada",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - DAY * 300 + number * 60)),
        "properties": {
            "order_id": f"o{number}", "total": number / 7, "currency": "EUR", "quantity": 2,
            "products": products, "note": f"wrapped, with card number {number}", "shelf": f"{number % 13}",
            "chapter": number % 40,
        },
        "context": {
            "ip": "192.0.2.17", "userAgent": "Mozilla/5.0 (X11; Linux x86_64) Example/1.0",
            "page": {"path": f"/books/{number % 800}", "title": f"Book {number % 800}"}, "locale": "en-IE",
        },
    }  # fmt: skip


def _waited(url: str, key: str, request: str) -> dict[str, float]:
    """Ask as an officer does, and wait as the person does."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=120) as http:
        started = time.perf_counter()
        request_id = http.post("/rights/requests", content=request).raise_for_status().json()["id"]
        while http.get(f"/rights/requests/{request_id}").json()["state"] != "fulfilled":
            time.sleep(0.02)
        ready = time.perf_counter() - started
        started = time.perf_counter()
        size = len(http.get(f"/rights/requests/{request_id}/archive").raise_for_status().content)
        return {
            "asked_to_ready_s": round(ready, 2),
            "fetched_s": round(time.perf_counter() - started, 3),
            "megabytes": round(size / 1e6, 2),
        }


def _apart(services: Services) -> dict[str, float]:
    with services.store.reading() as connection:
        number = services.identity.find(connection, "email", ADDRESS)
    assert number is not None  # noqa: S101  # a benchmark of nobody is none
    requests = [services.rights.open("benchmark", number, "access", "officer", external_id=f"b{turn}")
                for turn in range(3)]  # fmt: skip
    built = min(_timed(partial(services.archives.fulfil, one)) for one in requests)
    least = min(_timed(lambda: _least(services)) for _ in range(3))
    return {"built_s": round(built, 2), "least_s": round(least, 2)}


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _least(services: Services) -> int:
    prefix = Place(services.keyring.workspace, "events", "sealed").prefix()
    said = []
    with services.store.reading() as connection:
        rows = connection.execute(select(events).where(events.c.sealed.is_not(None))).all()
    keys = services.keyring.openable({row.identity_no for row in rows})
    for row in rows:
        opened = open_sealed(keys[row.identity_no], prefix, row.event_id, row.identity_no, row.sealed)
        clear = msgspec.json.decode(row.properties) if row.properties else {}
        said.append({**clear, **msgspec.json.decode(opened)})
    return len(zlib.compress(msgspec.json.encode(said)))


if __name__ == "__main__":
    main()
