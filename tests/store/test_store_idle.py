"""A connection to PostgreSQL that lay idle is proven alive before it is used: a restart harms no call."""

from __future__ import annotations

from contextlib import closing

import pytest
from sqlalchemy import text

from cdp.store import Store, dialect


def test_a_server_that_ended_idle_connections_harms_no_call(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect, "_IDLE_SECONDS", 0.0)
    other = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()"
    )
    with closing(Store(database_url)) as store, closing(Store(database_url)) as beside:
        with store.reading() as first, store.reading() as second:
            assert first.execute(text("SELECT 1")).scalar() == second.execute(text("SELECT 1")).scalar()
        with beside.reading() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(other)
        with store.reading() as first, store.reading() as second:
            assert first.execute(text("SELECT 1")).scalar() == second.execute(text("SELECT 1")).scalar()
