"""A Python client, Segment's or Rudder's, through each scenario it has a write key for; prints what it said.

Started in an empty folder: Rudder's reads a ``.env`` where it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

Said = dict[str, Any]
TOLD = json.loads(sys.argv[1])
VENDOR: str = TOLD["vendor"]
Client = import_module(f"{VENDOR}.analytics.client").Client
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=None if VENDOR == "segment" else UTC)  # naive: taken for local


def made(key: str, said: Said, **options: Any) -> Any:
    """Return a client that notes its failures."""
    said["failures"] = []

    def failed(error: Exception, _: object) -> None:
        said["failures"].append(str(error))

    return Client(key, host=TOLD["url"], on_error=failed, max_retries=4, **options)


def six(key: str, said: Said) -> None:
    client = made(key, said)
    client.identify(42, {"email": "ada@shop.example", "firstName": "Ada", "plan": "gold"})
    bought = {"order_id": "o-1", "revenue": 42.5, "currency": "EUR"}
    client.track(42, "Order Completed", bought, timestamp=AT)
    client.page(42, "Docs", "Home", {"path": "/docs"})
    client.screen(42, "App", "Start")
    client.group(42, "team-1", {"name": "Herons"})
    client.alias("device-1", 42)
    client.shutdown()


def one(key: str, said: Said) -> None:
    client = made(key, said)
    client.track("u-1", "Product Viewed")
    client.shutdown()


def gzip(key: str, said: Said) -> None:
    client = made(key, said, gzip=True)
    client.track("u-1", "Product Viewed")
    client.shutdown()


def too_large(key: str, said: Said) -> None:
    client = made(key, said)
    size = 33_000 if VENDOR == "segment" else 600_000
    try:
        client.track("u-1", "Product Viewed", {"text": "x" * size})
    except RuntimeError as error:
        said["raised"] = str(error)
    client.shutdown()


def chaos(key: str, said: Said) -> None:
    client = made(key, said, upload_size=10)
    for number in range(40):
        client.track("chaos", "Product Viewed", {"position": number})
    client.shutdown()


SCENARIOS: dict[str, Callable[[str, Said], None]] = {
    "six": six,
    "gzip": gzip,
    "retried": one,
    "nothing": one,
    "refused": one,
    "too_large": too_large,
    "chaos": chaos,
}


def main() -> None:
    """Run the scenarios beside each other."""
    said: dict[str, Said] = {scenario: {} for scenario in TOLD["keys"]}
    with ThreadPoolExecutor(len(said)) as threads:
        waiting = [threads.submit(SCENARIOS[name], key, said[name]) for name, key in TOLD["keys"].items()]
        for each in waiting:
            each.result()
    json.dump(said, sys.stdout)


main()
