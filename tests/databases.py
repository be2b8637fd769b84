"""Databases on the PostgreSQL server of the tests: made for one test, dropped after it."""

from __future__ import annotations

import atexit
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url

_FILLING = ("settings", "tables_url")  # these fixtures fill the database, as a template is


@contextmanager
def fresh_postgres(request: pytest.FixtureRequest, prefix: str) -> Iterator[str]:
    """Yield the URL of a database of this test: empty, or one of those that another fixture fills."""
    server = request.getfixturevalue("postgres_server")
    filling = [name for name in _FILLING if name in request.fixturenames]
    if not filling:
        with postgres_database(server, prefix) as url:
            yield url
        return
    with request.getfixturevalue("recycled").database(server, f"{prefix}_{filling[0]}") as url:
        yield url


@contextmanager
def postgres_database(server: str, prefix: str, *, make: bool = True) -> Iterator[str]:
    """Yield the URL of a database on ``server``, and drop it afterwards."""
    name = f"{prefix}_{secrets.token_hex(6)}"
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    if make:
        make_database(url)
    yield url
    drop_database(url)


def make_database(url: str, template: str = "template1") -> None:
    """Make the database at ``url``, a copy of the one called ``template`` on the same server.

    Its files are copied: by default the server writes each page to its log, too, and so much of it that the
    log soon forgets what earlier tests wrote, where canaries are searched for.
    """
    name = make_url(url).database
    server_of(url).execute(text(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))


def drop_database(url: str) -> None:
    """Drop the database at ``url`` if it is there, whoever is connected to it."""
    server_of(url).execute(text(f"DROP DATABASE IF EXISTS {make_url(url).database} WITH (FORCE)"))


def server_of(url: str) -> Connection:
    """Return this process's connection to the server of ``url``, outside any transaction."""
    return _connected(make_url(url).set(database="postgres").render_as_string(hide_password=False))


@cache
def _connected(url: str) -> Connection:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    atexit.register(engine.dispose)
    connection = engine.connect()
    atexit.register(connection.close)
    return connection
