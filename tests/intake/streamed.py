"""A platform whose deliveries come in through a stream of the cluster, and what is asked of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import pytest
from caller import Caller
from litestar.testing import TestClient
from nats_cluster import NatsCluster

from cdp import app
from cdp.clock import Clock
from cdp.errors import UnavailableError
from cdp.ingest.tables import events
from cdp.intake import LANES, Backlog, StreamIntake
from cdp.settings import Settings

# SQLite has one writing process, and a stream is consumed by others: it is refused there (a test says so).
ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
PURPOSE = "data_quality"
_SECONDS = 20.0


def through(settings: Settings, cluster: NatsCluster) -> Settings:
    """Return settings whose deliveries come in through a stream of their own."""
    name = f"cdp-{secrets.token_hex(4)}"
    return msgspec.structs.replace(settings, intake=f"nats://{cluster.servers}/{name}")


@contextmanager
def called(settings: Settings, clock: Clock | None = None) -> Iterator[Caller]:
    """Start an application; yields its operator."""
    key = (settings.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
    platform = app.build(settings, clock)
    with TestClient(app.application(platform)) as http:
        eventually(lambda: http.get("/health/ready").status_code == 200)
        yield Caller(http, key, platform.services)


def stream_name(settings: Settings) -> str:
    """Return the name of the stream that settings name."""
    return settings.intake.rpartition("/")[2]


def backlog(caller: Caller) -> Backlog:
    """Return what lies in the stream."""
    intake = caller.services.intake
    assert isinstance(intake, StreamIntake)
    return intake.backlog()


def give_again_soon(cluster: NatsCluster, settings: Settings) -> None:
    """Have what a worker took and did not acknowledge given to another after a second, not half a minute."""
    from nats.js.api import ConsumerConfig  # noqa: PLC0415  # an extra

    stream = stream_name(settings)

    async def made(context: Any) -> None:
        for lane in LANES:
            config = ConsumerConfig(durable_name=lane, filter_subject=f"{stream}.{lane}", ack_wait=1)
            await context.add_consumer(stream, config)

    cluster.ask(made)


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + _SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def drained(caller: Caller) -> None:
    """Wait until nothing is left in the stream."""

    def empty() -> bool:
        with suppress(UnavailableError):  # consumers are being made, or a node was killed
            return backlog(caller).messages == 0
        return False

    eventually(empty)


def stored(caller: Caller) -> list[str]:
    """Return the names of all events, each as often as it is stored."""
    with caller.services.store.reading() as connection:
        return sorted(str(row.name) for row in connection.execute(events.select()))


def world(caller: Caller, known: list[tuple[str, str]]) -> list[Any]:
    """Return what is told of people: who is whom, traits, consents and events, without numbers of ours."""
    people: dict[str, list[tuple[str, str]]] = {}
    for type_, value in known:
        people.setdefault(caller.lookup(type_, value)["id"], []).append((type_, value))
    found = []
    for profile_id, identifiers in people.items():
        portrait = caller.api("GET", f"/profiles/{profile_id}", purpose=PURPOSE)
        events = caller.api("GET", f"/profiles/{profile_id}/events?limit=500", purpose=PURPOSE)["items"]
        consents = caller.api("GET", f"/profiles/{profile_id}/consents", purpose="compliance_review")["items"]
        told = [[item[key] for key in ("type", "name", "occurred_at", "received_at")] for item in events]
        states = sorted((item["purpose"], item["state"]) for item in consents)
        found.append([identifiers, portrait["traits"], portrait["masked_fields"], sorted(told), states])
    return sorted(found)
