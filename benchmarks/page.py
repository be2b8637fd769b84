"""``python -m benchmarks.page``: how long people wait for their preference page.

Each page is asked for over loopback by a link of its own, as a browser does: one after the other, and then by
four readers at once. Everybody on it said yes once and signed nothing in.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from benchmarks.databases import fresh_databases
from benchmarks.server import served
from cdp import app
from cdp.settings import Settings

PURPOSE = "marketing.communications.email"
READERS = 4


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--pages", type=int, default=200, help="for each of the two ways")
    arguments = parser.parse_args()
    print(json.dumps({store: _run(store, arguments.pages) for store in arguments.stores}, indent=2))


def _run(store: str, pages: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="cdp-bench-") as name:
        folder = Path(name)
        with fresh_databases(store, folder) as (database, keys):
            settings = Settings(data_dir=folder, database_url=database, keys_database_url=keys)
            app.initialise(settings)
            operator = (folder / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
            with served(settings) as (url, _):
                links = list(_links(url, operator, 2 * pages))
                with httpx.Client(timeout=60) as http, ThreadPoolExecutor(READERS) as readers:

                    def milliseconds(link: str) -> float:
                        started = time.perf_counter()
                        http.get(link).raise_for_status()
                        return 1000 * (time.perf_counter() - started)

                    alone = [milliseconds(link) for link in links[:pages]]
                    beside = list(readers.map(milliseconds, links[pages:]))
    return _shown("alone", alone) | _shown(f"{READERS}_readers", beside)


def _links(url: str, operator: str, people: int) -> Iterator[str]:
    headers = {"Authorization": f"Bearer {operator}", "CDP-Purpose": "compliance_review"}
    with httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=60) as http:
        for number in range(people):
            identifier = {"type": "email", "value": f"reader{number}@mail.example"}
            said = {"identifiers": [identifier], "purpose": PURPOSE, "state": "granted"}
            http.post("/consents", json=said).raise_for_status()
            made = http.post("/preferences/links", json={"identifier": identifier, "kind": "manage"})
            place = httpx.URL(made.raise_for_status().json()["url"]).path
            yield f"{url}{place}"


def _shown(name: str, times: list[float]) -> dict[str, float]:
    times = sorted(times)
    middle, late = times[len(times) // 2], times[int(len(times) * 0.99)]
    return {f"{name}_p50_ms": round(middle, 1), f"{name}_p99_ms": round(late, 1)}


if __name__ == "__main__":
    main()
