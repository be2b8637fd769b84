"""``cdp serve`` and ``cdp worker`` as processes of their own, with a stream between them."""

from __future__ import annotations

import httpx
import pytest
from nats_cluster import NatsCluster
from platform_fixtures import Shell
from served import served
from streamed import ON_POSTGRESQL, eventually, stream_name, through

from cdp import app
from cdp.settings import Settings


@ON_POSTGRESQL
def test_a_server_and_its_worker(
    settings: Settings, cluster: NatsCluster, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed = through(settings, cluster)
    monkeypatch.setenv("CDP_INTAKE", streamed.intake)
    operator = (settings.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
    headers = {"Authorization": f"Bearer {operator}", "CDP-Purpose": "data_quality"}
    with served(streamed) as (url, _), httpx.Client(base_url=url, timeout=60) as http:
        made = http.post("/api/v1/sources", headers=headers, json={"name": "shop", "kind": "server"})
        key = made.json()["write_key"]

        def send(number: int, query: str = "") -> None:
            body = {"event": f"E{number}", "userId": "u1", "messageId": f"m{number}"}
            assert http.post(f"/v1/track{query}", auth=(key, ""), json=body).status_code == 200

        send(0, "?wait=warehouse")  # past the stream: it is visible when it is answered
        for number in range(1, 60):
            send(number)
        found = http.post("/api/v1/profiles/lookup", headers=headers, json={"type": "user_id", "value": "u1"})

        def count() -> int:
            path = f"/api/v1/profiles/{found.json()['id']}/events?limit=200"
            return len(http.get(path, headers=headers).json()["items"])

        eventually(lambda: count() == 60)  # by the worker that the server started
        told = shell("doctor")
        assert f"stream {stream_name(streamed)}: 0 deliveries wait" in told


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # what is refused is SQLite
def test_a_stream_needs_a_database_that_several_processes_write(
    settings: Settings, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.intake == "direct"
    assert "CDP_INTAKE names no stream" in shell("worker", "--no-mirror", expect=1)
    monkeypatch.setenv("CDP_INTAKE", "nats://ann:s3cret@127.0.0.1:4222/events")
    for command in ("serve", "worker", "init"):
        assert "CDP_DATABASE_URL=postgresql://" in shell(command, expect=1)
    monkeypatch.setenv("CDP_INTAKE", "nats://ann:s3cret@127.0.0.1/events")
    told = shell("serve", expect=1)
    assert "CDP_INTAKE must be direct or nats://" in told
    assert "s3cret" not in told
