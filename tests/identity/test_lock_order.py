"""Components that are joined while somebody waits for them: nobody becomes the victim of a deadlock."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing

import pytest
from databases import fresh_postgres, server_of
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from cdp import app
from cdp.access import Source
from cdp.app import Platform
from cdp.clock import FixedClock
from cdp.identity import queries
from cdp.ingest import Delivery
from cdp.settings import Settings

_SOURCE = Source(source_id=1, name="shop", kind="server", enabled=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """PostgreSQL's alone: SQLite's writer never waits for another."""
    with fresh_postgres(request, "cdp_test") as url:
        yield url


def _send(platform: Platform, body: str) -> None:
    delivery = Delivery(source=_SOURCE, messages=(body.encode(),), received_at=platform.services.clock.now())
    platform.writer.write([delivery])


def _wait_for_waiting(url: str, count: int) -> None:
    """Wait until so many connections wait for a lock."""
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE datname = :name AND wait_event_type = 'Lock'")
    for _ in range(1000):
        if server_of(url).execute(waiting, {"name": make_url(url).database}).scalar_one() >= count:
            return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


def test_whoever_finds_a_component_joined_to_another_lets_go_of_what_it_holds(
    settings: Settings, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = queries.clusters_of

    def slowly(connection: Connection, numbers: Iterable[int]) -> dict[int, int]:
        time.sleep(0.1)  # so that whoever waited for the lock has it by now
        return look(connection, numbers)

    monkeypatch.setattr(queries, "clusters_of", slowly)
    with closing(app.build(settings, clock)) as platform:
        services = platform.services
        for name in ("first", "second", "third"):
            _send(platform, f'{{"type": "track", "event": "Seen", "anonymousId": "{name}"}}')
        with services.store.reading() as connection:
            found = [
                services.identity.find(connection, "anonymous_id", name)
                for name in ("first", "second", "third")
            ]
        first, second, third = sorted(number for number in found if number is not None)
        failed: list[BaseException] = []
        held: list[set[int]] = []
        done = threading.Event()

        def lock(*numbers: int) -> None:
            try:
                with services.committer.batch() as batch:
                    held.append(set(services.identity.lock(batch.connection, numbers)))
            except BaseException as error:  # noqa: BLE001  # shown by the assertion below
                failed.append(error)

        def join() -> None:
            with services.committer.batch() as batch:
                services.identity.lock(batch.connection, [first, third])
                told = text("UPDATE profile_members SET cluster_no = :low WHERE identity_no = :high")
                batch.connection.execute(told, {"low": first, "high": third})
                joined.set()
                done.wait()

        joined = threading.Event()
        threads = [threading.Thread(target=join)]
        threads[0].start()
        joined.wait()
        for waiting, numbers in enumerate([(second, third), (first, second)], start=1):
            threads.append(threading.Thread(target=lock, args=numbers))
            threads[-1].start()
            _wait_for_waiting(settings.database_url, waiting)
        done.set()
        for thread in threads:
            thread.join()
        assert failed == []
        assert held == [{first, second, third}] * 2
