"""A deadlock that nobody runs again reaches its caller as what it is: try again later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from databases import fresh_postgres
from sqlalchemy import text

from cdp.clock import FixedClock
from cdp.errors import StoreError
from cdp.store import Committer, Store, initialise, retrying


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """PostgreSQL's alone: SQLite's writer never waits for another."""
    with fresh_postgres(request, "cdp_test") as url:
        yield url


def test_a_deadlock_is_a_store_error_and_its_batch_may_run_again(tables_url: str, clock: FixedClock) -> None:
    with closing(Store(tables_url)) as store:
        with store.writing() as connection, connection.begin():
            initialise(connection)
            told = text("INSERT INTO counters (name, next) VALUES ('first', 1), ('second', 1)")
            connection.execute(told)
        committer = Committer(store, lambda *_: [], clock)
        both = threading.Barrier(2)
        met = set[tuple[str, str]]()
        failed: list[BaseException] = []

        def lock(names: tuple[str, str]) -> None:
            with committer.batch() as batch:
                batch.connection.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
                for name in names:
                    query = text("SELECT next FROM counters WHERE name = :name FOR UPDATE")
                    batch.connection.execute(query, {"name": name})
                    if names not in met:
                        met.add(names)
                        both.wait(10)

        def work(names: tuple[str, str], *, again: bool) -> None:
            try:
                if again:
                    retrying(lambda: lock(names))
                else:
                    lock(names)
            except BaseException as error:  # noqa: BLE001  # shown by the assertions below
                failed.append(error)

        for again in (False, True):
            failed.clear()
            met.clear()
            pairs = ("first", "second"), ("second", "first")
            threads = [threading.Thread(target=work, args=(pair,), kwargs={"again": again}) for pair in pairs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert [isinstance(error, StoreError) for error in failed] == [True] * (not again)
