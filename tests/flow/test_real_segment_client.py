"""The real Segment Python client, unchanged, against the real server in another process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from served import served

from cdp.settings import Settings

CLIENT = """
import sys
from segment.analytics import Client
write_key, host, gzip = sys.argv[1], sys.argv[2], sys.argv[3] == "gzip"
failures = []
client = Client(write_key, host=host, gzip=gzip, on_error=lambda error, items: failures.append(error))
for number in range(250):
    properties = {"revenue": 1.5, "order_id": f"{sys.argv[3]}-{number}"}
    client.track(f"user-{number % 20}", "Order Completed", properties)
client.identify(42, {"email": "fern@mail.example", "country": "DE"})
client.page("user-1", "Docs", "Home", {"path": "/"})
client.screen("user-1", "Start")
client.group("user-1", "team-1", {"name": "Herons"})
client.alias("browser-1", "user-1")
client.shutdown()
sys.exit(len(failures))
"""
CALLS = 255


@pytest.fixture
def server(settings: Settings) -> Iterator[tuple[str, Settings]]:
    """`cdp serve` in a process of its own."""
    with served(settings) as (url, _):
        yield url, settings


def test_every_call_of_the_real_client_is_counted(server: tuple[str, Settings]) -> None:
    url, settings = server
    key = (settings.data_dir / "operator.key").read_text(encoding="ascii").strip()
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as http:
        made = http.post("/api/v1/sources", json={"name": "client", "kind": "server"})
        write_key = made.json()["write_key"]
        for mode in ("plain", "gzip"):
            done = subprocess.run(
                [sys.executable, "-c", CLIENT, write_key, url, mode], timeout=60, check=False
            )
            assert done.returncode == 0
        last = {"type": "page", "userId": "42", "name": "Home", "messageId": "last"}
        body = {"batch": [last], "writeKey": write_key}
        mirrored = http.post("/v1/batch?wait=warehouse", json=body, timeout=30)
        assert mirrored.status_code == 200, "the worker process keeps the warehouse current"
        entries = http.get("/api/v1/audit?action=ingest.batch&limit=500").json()["items"]
        counts = [entry["counts"] for entry in entries]
        assert sum(count["stored"] for count in counts) == 2 * CALLS + 1
        assert sum(count["quarantined"] for count in counts) == 0
        body = {"type": "user_id", "value": "42"}
        found = http.post("/api/v1/profiles/lookup", json=body, headers={"CDP-Purpose": "data_quality"})
        assert found.json()["traits"]["country"] == "DE"
