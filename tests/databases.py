"""Databases on the PostgreSQL server of the tests: made for one test, dropped after it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url


@contextmanager
def fresh_postgres(request: pytest.FixtureRequest, prefix: str) -> Iterator[str]:
    """Yield the URL of a database of this test; for an initialised platform it is not made, only named."""
    server = request.getfixturevalue("postgres_server")
    with postgres_database(server, prefix, make="settings" not in request.fixturenames) as url:
        yield url


@contextmanager
def postgres_database(server: str, prefix: str, *, make: bool = True) -> Iterator[str]:
    """Yield the URL of a database on ``server``, and drop it afterwards."""
    name = f"{prefix}_{secrets.token_hex(6)}"
    with server_of(server) as connection:
        if make:
            connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    with server_of(server) as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


@contextmanager
def server_of(url: str) -> Iterator[Connection]:
    """Yield a connection to the server of ``url``, outside any transaction."""
    parsed = make_url(url).set(drivername="postgresql+psycopg", database="postgres")
    engine = create_engine(parsed, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()
