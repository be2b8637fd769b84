"""DuckDB over the mirror's files, inside this process.

Invariants: it runs in memory with a limit, spills nothing, loads no extension and may open no file outside
the mirror's directory.

A generation is a schema with the views of one manifest's files; the map is a schema beside it. Either is
dropped when nobody uses it any more.
"""

# ruff: noqa: S608  # SQL is put together from our own names; values are quoted by Ibis or are integers

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import ibis  # type: ignore[import-untyped]  # publishes no types

from cdp.clock import Micros
from cdp.errors import OutOfMemoryError, UnavailableError
from cdp.warehouse.engine import Columns, Rank, Tables
from cdp.warehouse.model import EVENTS, TRAITS

_FUNCTIONS = (
    "CREATE MACRO evaluated_at() AS getvariable('evaluated_at')::BIGINT",
    "CREATE MACRO wall_clock(instant, place) AS epoch_us(timezone(place, make_timestamptz(instant)))",
)
_MEMORY_MIB = min(2400, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 21)  # half the machine's
_TYPES = {"int64": "BIGINT", "float64": "DOUBLE", "string": "VARCHAR", "boolean": "BOOLEAN"}


_Stored = Mapping[Path, tuple[str, ...]]
"""File → its columns, in its order."""


class _Map:
    """The schema of an identity→profile map."""

    def __init__(self, schema: str) -> None:
        self.schema = schema


class _Generation:
    """The schema of one manifest's views, and the map that belongs to it.

    :param select: returns the query for the table ``events`` in some of its files.
    """

    def __init__(
        self, engine: DuckEngine, schema: str, members: _Map, select: Callable[[Sequence[Path]], str]
    ) -> None:
        self._engine = engine
        self._members = members
        self._select = select
        self.schema = schema

    def run(self, sql: str, now: Micros, events: Sequence[Path] | None = None) -> Columns:
        if events is not None:
            sql = f"WITH {EVENTS} AS NOT MATERIALIZED ({self._select(events)}) SELECT * FROM ({sql})"
        with self._engine.cursor() as cursor:
            cursor.execute(f"SET search_path = '{self.schema},{self._members.schema},main'")
            cursor.execute(f"SET VARIABLE evaluated_at = {int(now)}::BIGINT")
            return cursor.execute(sql).fetchnumpy()


class DuckEngine:
    """DuckDB in memory.

    :param directory: the only one whose files it may open.
    :param memory_limit: in MiB.
    """

    dialect = "duckdb"
    together = 1  # what one has gathered of everybody is given back before the next

    def __init__(self, directory: Path, memory_limit: int = _MEMORY_MIB) -> None:
        self._unused: deque[str] = deque()
        self._serial = 0
        self._stored: _Stored = {}
        self._root = _connect(directory, memory_limit)

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open one connection to the in-memory engine.

        :raises UnavailableError: the engine failed; the message names no value.
        """
        cursor = self._root.cursor()
        try:
            yield cursor
        except duckdb.OutOfMemoryException as error:
            raise OutOfMemoryError from error
        except duckdb.Error as error:
            raise UnavailableError(f"the warehouse failed ({type(error).__name__})") from error
        finally:
            cursor.close()

    def map(self, files: Sequence[Path]) -> _Map:
        """Make the tables ``members`` and ``people``."""
        schema = self._schema("map")
        with self._gone(schema):
            self._root.execute(
                f"CREATE TABLE {schema}.everyone AS"
                " SELECT identity_no, arg_max(profile_no, commit_no) AS profile_no"
                f" FROM {_read(files)} GROUP BY identity_no"
            )
        self._root.execute(
            f"CREATE TABLE {schema}.members AS"
            f" SELECT * FROM {schema}.everyone WHERE identity_no <> profile_no"
        )
        self._root.execute(
            f"CREATE TABLE {schema}.people AS SELECT DISTINCT profile_no FROM {schema}.everyone"
        )
        self._root.execute(f"DROP TABLE {schema}.everyone")
        made = _Map(schema)
        weakref.finalize(made, self._unused.append, schema).atexit = False
        return made

    def open(
        self, files: Mapping[str, Sequence[Path]], tables: Tables, ranks: Sequence[Rank], members: _Map
    ) -> _Generation:
        """Make the views ``events`` and ``traits`` and the table ``trust``."""
        while self._unused:
            self._root.execute(f"DROP SCHEMA {self._unused.popleft()} CASCADE")
        schema = self._schema("generation")
        with self._gone(schema):
            stored = self._stored = self._described([*files[EVENTS], *files[TRAITS]])
            for dataset, table in ((EVENTS, tables.events), (TRAITS, tables.traits)):
                query = _select(table, files[dataset], stored)
                self._root.execute(f"CREATE VIEW {schema}.{dataset} AS {query}")
        self._root.execute(f"CREATE TABLE {schema}.trust (name VARCHAR, source_id BIGINT, rank BIGINT)")
        if ranks:
            self._root.executemany(f"INSERT INTO {schema}.trust VALUES (?, ?, ?)", list(ranks))
        made = _Generation(self, schema, members, lambda some: _select(tables.events, some, stored))
        weakref.finalize(made, self._unused.append, schema).atexit = False
        return made

    def close(self) -> None:
        """Give the memory back."""
        self._root.close()

    def _described(self, files: Sequence[Path]) -> _Stored:
        """Return the columns of each file; of those that were open before, as they were read then."""
        known = {path: self._stored[path] for path in files if path in self._stored}
        new = [path for path in files if path not in known]
        if new:
            rows = self._root.execute(
                f"SELECT file_name, list(name ORDER BY column_id) FROM parquet_schema({_listed(new)})"
                " WHERE num_children IS NULL GROUP BY 1"
            ).fetchall()
            known |= {Path(name): tuple(columns) for name, columns in rows}
        return known

    @contextmanager
    def _gone(self, schema: str) -> Iterator[None]:
        try:
            yield
        except duckdb.IOException as error:
            self._unused.append(schema)
            raise FileNotFoundError from error

    def _schema(self, kind: str) -> str:
        self._serial += 1
        self._root.execute(f"CREATE SCHEMA {kind}_{self._serial}")
        return f"{kind}_{self._serial}"


def _select(table: ibis.Table, files: Sequence[Path], stored: _Stored) -> str:
    """Return the query for a table's columns; one that no file has is NULL."""
    there = {name for path in files for name in stored[path]}
    columns = ", ".join(
        _quoted(name) if name in there else f"CAST(NULL AS {_TYPES[str(kind)]}) AS {_quoted(name)}"
        for name, kind in table.schema().items()
    )
    if not files:
        return f"SELECT {columns} WHERE false"
    return f"SELECT {columns} FROM {_read(files, alike=len({stored[path] for path in files}) == 1)}"


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))


def _listed(files: Sequence[Path]) -> str:
    return "[{}]".format(", ".join("'{}'".format(str(path).replace("'", "''")) for path in files))


def _read(files: Sequence[Path], *, alike: bool = False) -> str:
    """Return the reading of some files; of those that are ``alike`` the columns of one are those of all."""
    return f"read_parquet({_listed(files)}, union_by_name = {str(not alike).lower()})"


def _connect(directory: Path, memory_limit: int) -> duckdb.DuckDBPyConnection:
    directory.mkdir(parents=True, exist_ok=True)
    root = duckdb.connect(
        ":memory:",
        config={
            "temp_directory": "",  # clear values never spill to a file
            "memory_limit": f"{memory_limit}MiB",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "preserve_insertion_order": "false",
        },
    )
    root.execute("SET parquet_metadata_cache = true")
    define_functions(root)
    path = str(directory.resolve()).replace("'", "''")
    root.execute(f"SET allowed_directories = ['{path}']")
    root.execute("SET enable_external_access = false")
    root.execute("SET lock_configuration = true")
    return root


def define_functions(database: duckdb.DuckDBPyConnection) -> None:
    """Define the functions that queries of the warehouse call."""
    for function in _FUNCTIONS:
        database.execute(function)
