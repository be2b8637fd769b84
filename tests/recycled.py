"""PostgreSQL databases that one test after another uses, each as its template made it.

Making one writes sixteen megabytes, which takes longer than most tests; to restore one takes milliseconds.

1. Whoever is still connected is cut off, and the database gets another name: what still runs of the
   earlier test finds none, as if it were dropped.
2. One whose tables, or anything else of its catalogue, the test changed is dropped indeed.
3. Every table that holds a row is emptied, and what the template had in it is put back. (No table has a
   sequence, whose number would stay.)
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
from databases import drop_database, make_database, server_of
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError

_CATALOGUE = (  # of each the rows and who wrote them; emptying a table changes none of them
    *("pg_attrdef", "pg_attribute", "pg_constraint", "pg_depend", "pg_event_trigger", "pg_extension"),
    *("pg_index", "pg_inherits", "pg_largeobject_metadata", "pg_namespace", "pg_policy", "pg_proc"),
    *("pg_publication", "pg_rewrite", "pg_trigger", "pg_type"),
)
_RELATIONS = """
    SELECT md5(string_agg(concat_ws(' ', oid, relname, relkind, relpersistence, relowner, relacl, reloptions),
    ',' ORDER BY oid)) FROM pg_class WHERE relpersistence <> 't'
"""
_SETTINGS = """
    SELECT datallowconn, datconnlimit, datacl,
    ARRAY(SELECT setconfig::text FROM pg_db_role_setting WHERE setdatabase = d.oid)
    FROM pg_database AS d WHERE datname = current_database()
"""
_TABLES = (
    "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
)
_PATIENCE = 200  # times five milliseconds, until whoever was cut off is gone


class Pristine(NamedTuple):
    """A database as its template made it: its catalogue, and the rows of each table that has any."""

    catalogue: list[tuple[object, ...]]
    tables: list[str]
    rows: dict[str, bytes]


class Recycled:
    """The databases of this process that are free, by what they are for."""

    def __init__(self) -> None:
        self._free: dict[str, list[str]] = {}
        self._pristine: dict[str, Pristine] = {}

    @contextmanager
    def database(self, server: str, purpose: str) -> Iterator[str]:
        """Yield the URL of a database for one test, which ``fill`` makes if it is not there yet."""
        free = self._free.setdefault(purpose, [])
        url = free.pop() if free else _named(make_url(server), purpose)
        yield url
        pristine = self._pristine.pop(url, None)
        renamed = _named(make_url(server), purpose)
        if pristine is not None and _rename(url, renamed) and _restore(renamed, pristine):
            self._pristine[renamed] = pristine
            free.append(renamed)
            return
        drop_database(url)
        drop_database(renamed)

    def fill(self, template: str, url: str) -> None:
        """Have the database at ``url`` be as the one called ``template``."""
        if url not in self._pristine:
            make_database(url, template)
            with psycopg.connect(url) as connection:
                self._pristine[url] = _look(connection)

    def drop(self) -> None:
        """Drop them all."""
        for url in self._pristine:
            drop_database(url)


def _named(server: URL, purpose: str) -> str:
    name = f"{purpose}_{secrets.token_hex(6)}"
    return server.set(database=name).render_as_string(hide_password=False)


def _look(connection: psycopg.Connection) -> Pristine:
    tables = [name for (name,) in connection.execute(_TABLES)]
    rows = {}
    for table in _holding_rows(connection, tables):
        with connection.cursor().copy(f"COPY {table} TO STDOUT") as copied:
            rows[table] = b"".join(copied)
    return Pristine(_catalogue(connection), tables, rows)


def _catalogue(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    counts = " UNION ALL ".join(
        f"SELECT {at}, count(*), sum(xmin::text::bigint) FROM {name}"  # noqa: S608  # names from above
        for at, name in enumerate(_CATALOGUE)
    )
    return [row for query in (counts, _RELATIONS, _SETTINGS) for row in connection.execute(query)]


def _holding_rows(connection: psycopg.Connection, tables: list[str]) -> list[str]:
    queries = [f"SELECT '{one}' WHERE EXISTS (SELECT FROM {one})" for one in tables]  # noqa: S608  # our tables
    return [name for (name,) in connection.execute(" UNION ALL ".join(queries))]


def _rename(url: str, renamed: str) -> bool:
    """Give a database another name; false where somebody holds on to it, or it is gone."""
    server, name = server_of(url), make_url(url).database
    connected = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
    for _ in range(_PATIENCE):
        if not server.execute(connected, {"name": name}).all():
            break
        time.sleep(0.005)
    try:
        server.execute(text(f"ALTER DATABASE {name} RENAME TO {make_url(renamed).database}"))
    except DBAPIError:
        return False
    return True


def _restore(url: str, pristine: Pristine) -> bool:
    """Empty a database but for what its template had in it; false where a test changed more than rows."""
    with psycopg.connect(url) as connection:
        if _catalogue(connection) != pristine.catalogue:
            return False
        if filled := _holding_rows(connection, pristine.tables):
            connection.execute(f"TRUNCATE {', '.join(filled)}")
        for table, rows in pristine.rows.items():
            with connection.cursor().copy(f"COPY {table} FROM STDIN") as into:
                into.write(rows)
    return True
