"""Several server processes on one PostgreSQL database: the same outcome as one, and nobody waits for long."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest
from databases import fresh_postgres, server_of
from running import running
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import make_url

from benchmarks.kills import unlike
from benchmarks.sending import sending
from benchmarks.standing import source_of
from cdp import app
from cdp.access import Source
from cdp.app import Platform
from cdp.ingest import Delivery
from cdp.settings import Settings

SECONDS = 2.0
_STALL = 1.0  # less than the second after which PostgreSQL looks for a deadlock, and what a busy machine adds


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """PostgreSQL's alone: SQLite has one writing process."""
    with fresh_postgres(request, "cdp_test") as url:
        yield url


def _beside(settings: Settings, folder: Path) -> Settings:
    """Return the settings of another server of the same workspace: a folder of its own, one journal."""
    folder.mkdir()
    (folder / "root.key").write_bytes((settings.data_dir / "root.key").read_bytes())
    return msgspec.structs.replace(settings, data_dir=folder, journal=settings.journal_dir)


def _deadlocks(url: str) -> int:
    query = text("SELECT deadlocks FROM pg_stat_database WHERE datname = :name")
    return int(server_of(url).execute(query, {"name": make_url(url).database}).scalar_one())


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_make_of_events_what_one_does(
    settings: Settings, tmp_path: Path, processes: int
) -> None:
    """Hot identifiers: three kiosks in every second event, addresses of two people, people who come again.

    Every fifth call is sent to two of the processes.
    """
    before = _deadlocks(settings.database_url)
    with ExitStack() as opened:
        services = opened.enter_context(closing(app.build(settings))).services
        source, write_key = source_of(services)
        servers = [
            opened.enter_context(
                running(_beside(settings, tmp_path / str(number)), tmp_path / f"log{number}")
            )
            for number in range(processes)
        ]
        ports = [server.port for server in servers]
        with sending(tmp_path / "tries", write_key, ports, pause=0.0) as client:
            time.sleep(SECONDS)
            assert unlike(services, source, client) == []
        tries = client.tries()
        for server in servers:
            server.stop()
    assert {one.status for one in tries} == {200}
    taken = sorted(one.seconds for one in tries)
    assert taken[int(len(taken) * 0.99)] < 20 * statistics.median(taken) + _STALL
    assert _deadlocks(settings.database_url) == before


def test_locks_do_not_grow_with_a_batch(settings: Settings) -> None:
    """What a batch holds in PostgreSQL's lock table is its tables and indexes, however many it touches."""
    with closing(app.build(settings)) as platform:
        source, _ = source_of(platform.services)
        held: list[int] = []

        def count(connection: Connection) -> None:
            query = text("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()")
            held.append(int(connection.execute(query).scalar_one()))

        event.listen(platform.services.store.engine, "commit", count)
        most = []
        for number, events in enumerate((10, 5000)):
            held.clear()
            _write(platform, source, number, events)
            _write(platform, source, number, events)  # the same people again
            most.append(max(held))
        assert most[1] <= most[0] + 10  # tables that a small batch does not need


def _write(platform: Platform, source: Source, batch: int, events: int) -> None:
    told = tuple(
        msgspec.json.encode(
            {"type": "identify", "userId": f"u{batch}-{number}", "anonymousId": f"d{batch}-{number // 3}"}
        )
        for number in range(events)
    )
    delivery = Delivery(source=source, messages=told, received_at=platform.services.clock.now())
    assert platform.writer.write([delivery]).stored == events
