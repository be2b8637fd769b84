"""Reading the mirror: Ibis tables over DuckDB, one consistent snapshot at a time.

Invariants: a snapshot sees exactly the files of one manifest, whatever is refreshed or merged meanwhile;
DuckDB runs in memory with a limit, spills nothing, loads no extension and may open no file outside
the mirror's directory; an error names no value.

A *generation* is a DuckDB schema with the views of one manifest's files; the *map* beside it holds the
identities whose profile is another number than their own, so that a fact without a row there belongs to
the profile of its own number. Both are dropped when no snapshot uses them any more.
"""

# ruff: noqa: S608  # SQL is put together from our own names; values are quoted by Ibis or are integers

from __future__ import annotations

import threading
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import ibis  # type: ignore[import-untyped]  # publishes no types
import numpy as np
from pyroaring import BitMap

from cdp.clock import Micros
from cdp.errors import UnavailableError
from cdp.profiles import Trust
from cdp.warehouse.files import Directory
from cdp.warehouse.model import EVENTS, MEMBERS, TRAITS, VALUE_COLUMN, Declared, Manifest, event_column

_TYPES = {"string": "string", "number": "float64", "boolean": "boolean", "time": "int64"}
_Numbers = np.ndarray[tuple[int], np.dtype[np.uint32]]
_UNION = 32  # queries in one pass
_TRIES = 3


class Tables:
    """The Ibis tables of a snapshot; the same for every snapshot with the same declared columns.

    ``events(identity_no, type, name, occurred_at, received_at, source_id, p_…, c_…)``,
    ``traits(identity_no, name, observed_at, source_id, tie, value_text, value_number, …)``,
    ``members(identity_no, profile_no)`` (only where they differ), ``people(profile_no)``,
    ``trust(name, source_id, rank)`` (of a trait, by a small number that orders the sources; 0 where it is not
    said).
    """

    def __init__(self, declared: Declared) -> None:
        self.declared = declared
        properties = {event_column(name): _TYPES[kind] for name, kind in declared.properties.items()}
        number = "int64"
        self.events: ibis.Table = ibis.table(
            {
                "commit_no": number,
                "identity_no": number,
                "type": "string",
                "name": "string",
                "occurred_at": number,
                "received_at": number,
                "source_id": number,
                **properties,
            },
            name=EVENTS,
        )
        values = {column: _TYPES[kind] for kind, column in VALUE_COLUMN.items()}
        self.traits: ibis.Table = ibis.table(
            {
                "identity_no": number,
                "name": "string",
                "observed_at": number,
                "source_id": number,
                "tie": number,
                **values,
            },
            name=TRAITS,
        )
        self.members: ibis.Table = ibis.table({"identity_no": number, "profile_no": number}, name=MEMBERS)
        self.people: ibis.Table = ibis.table({"profile_no": number}, name="people")
        self.trust: ibis.Table = ibis.table(
            {"name": "string", "source_id": number, "rank": number}, name="trust"
        )


@ibis.udf.scalar.builtin(signature=((), "int64"))  # type: ignore[untyped-decorator]  # as above
def evaluated_at() -> Any:
    """Stand for the instant that a query is evaluated for, in ``Micros``, inside the query."""


class _Map:
    """The identity→profile map of one manifest, in a schema of its own."""

    def __init__(self, schema: str, files: tuple[str, ...], everyone: BitMap) -> None:
        self.schema = schema
        self.files = files
        self.everyone = everyone
        self.moved: tuple[_Numbers, _Numbers] | None = None  # identities, ascending, and their profiles


class _Generation:
    """The views over one manifest's files."""

    def __init__(self, schema: str, manifest: Manifest, tables: Tables, members: _Map) -> None:
        self.schema = schema
        self.manifest = manifest
        self.tables = tables
        self.members = members


class Snapshot:
    """The mirror as of one commit.

    :param commit_no: every commit up to it is visible.
    :param as_of: when that was mirrored.
    :cvar dialect: the SQL that ``run`` takes, as ``ibis.to_sql`` names it.
    """

    dialect = "duckdb"

    def __init__(self, warehouse: Warehouse, generation: _Generation, manifest: Manifest) -> None:
        self._warehouse = warehouse
        self._generation = generation
        self.commit_no = manifest.commit_no
        self.as_of: Micros = manifest.refreshed_at
        self.tables = generation.tables

    @property
    def everyone(self) -> BitMap:
        """All profiles."""
        return self._generation.members.everyone.copy()

    def run(self, sql: str, now: Micros) -> dict[str, Any]:
        """Run a query over the tables and return its columns, as numpy arrays.

        :param sql: of this snapshot's dialect, as compiled from Ibis.
        :param now: what ``evaluated_at()`` returns in it.
        :raises UnavailableError: the engine failed or needs more memory than it may have.
        """
        with self._warehouse.cursor() as cursor:
            cursor.execute(
                f"SET search_path = '{self._generation.schema},{self._generation.members.schema},main'"
            )
            cursor.execute(f"SET VARIABLE evaluated_at = {int(now)}::BIGINT")
            return cursor.execute(sql).fetchnumpy()

    def sets(self, queries: Sequence[str], now: Micros) -> list[BitMap]:
        """Run queries that each yield the column ``profile_no`` and return their sets, in order.

        :param queries: DuckDB SQL over the tables, as compiled from Ibis.
        :param now: what ``evaluated_at()`` returns in them.
        :raises UnavailableError: the engine failed or needs more memory than it may have.
        """
        found: list[BitMap] = []
        for start in range(0, len(queries), _UNION):
            part = queries[start : start + _UNION]
            union = "\nUNION ALL\n".join(
                f"SELECT {leaf}::UTINYINT AS leaf, profile_no::UINTEGER AS profile_no FROM ({query})"
                for leaf, query in enumerate(part)
            )
            columns = self.run(union, now)
            leaves, profiles = columns["leaf"], columns["profile_no"]
            if len(part) == 1:
                found.append(_bitmap(profiles))
            else:
                found.extend(_bitmap(profiles[leaves == leaf]) for leaf in range(len(part)))
        return found

    def mapped(self, identities: BitMap) -> BitMap:
        """Return the profiles, as this snapshot maps them, of some identities."""
        held = self._generation.members
        if held.moved is None:
            moved = self.run("SELECT identity_no, profile_no FROM members ORDER BY identity_no", 0)
            held.moved = (_numbers(moved["identity_no"]), _numbers(moved["profile_no"]))
        movers, profiles = held.moved
        found = np.frombuffer(identities.to_array(), dtype=np.uint32)
        place = np.searchsorted(movers, found)
        place[place == len(movers)] = 0
        if len(movers):
            found = np.where(movers[place] == found, profiles[place], found)
        return _bitmap(found)


class Warehouse:
    """The mirror's readers' side; may be used by many threads.

    :param directory: the mirror's directory.
    :param trust: returns trait → source id → how far it is trusted (higher is more), for traits of which the
        most trusted source holds; a source without a word has 0.
    :param memory_limit: DuckDB's limit, e.g. ``1GB``.
    """

    def __init__(
        self,
        directory: Path,
        *,
        trust: Callable[[], Trust] = dict,
        memory_limit: str = "1GB",
    ) -> None:
        self._directory = Directory(directory)
        self._trust = trust
        self._lock = threading.Lock()
        self._unused: deque[str] = deque()
        self._serial = 0
        self._current: _Generation | None = None
        self._ranks: list[tuple[str, int, int]] | None = None
        self._root = _connect(self._directory.path, memory_limit)

    def snapshot(self) -> Snapshot:
        """Return the newest published state.

        :raises UnavailableError: nothing was mirrored yet, or the files cannot be read.
        """
        for attempt in range(_TRIES):
            manifest = self._directory.read()
            if not manifest.files:
                raise UnavailableError("the warehouse is empty; it fills within seconds of the start")
            try:
                with self._lock:
                    return Snapshot(self, self._generation(manifest), manifest)
            except duckdb.IOException as error:  # merged away between the manifest and the files
                if attempt == _TRIES - 1:
                    raise UnavailableError("the warehouse's files cannot be read") from error
        raise AssertionError

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open one connection to the in-memory engine.

        :raises UnavailableError: the engine failed; the message names no value.
        """
        cursor = self._root.cursor()
        try:
            yield cursor
        except duckdb.OutOfMemoryException as error:
            raise UnavailableError("the query needs more memory than the warehouse may use") from error
        except duckdb.Error as error:
            raise UnavailableError(f"the warehouse failed ({type(error).__name__})") from error
        finally:
            cursor.close()

    def close(self) -> None:
        """Give the memory back."""
        self._root.close()

    # -- under the lock -------------------------------------------------------------------------

    def _generation(self, manifest: Manifest) -> _Generation:
        ranks = [row for name, told in self._trust().items() for row in _ranks(name, told)]
        current = self._current
        if current is not None and current.manifest.files == manifest.files and ranks == self._ranks:
            return current
        while self._unused:
            self._root.execute(f"DROP SCHEMA {self._unused.popleft()} CASCADE")
        members = None if current is None else current.members
        if members is None or members.files != manifest.names(MEMBERS):
            members = self._map(manifest)
        schema = self._schema("generation")
        for dataset in (EVENTS, TRAITS):
            self._root.execute(
                f"CREATE VIEW {schema}.{dataset} AS SELECT * FROM {self._files(manifest, dataset)}"
            )
        self._root.execute(f"CREATE TABLE {schema}.trust (name VARCHAR, source_id BIGINT, rank BIGINT)")
        if ranks:
            self._root.executemany(f"INSERT INTO {schema}.trust VALUES (?, ?, ?)", ranks)
        self._ranks = ranks
        self._current = _Generation(schema, manifest, Tables(manifest.declared), members)
        weakref.finalize(self._current, self._unused.append, schema).atexit = False
        return self._current

    def _map(self, manifest: Manifest) -> _Map:
        schema = self._schema("map")
        self._root.execute(
            f"CREATE TABLE {schema}.everyone AS"
            " SELECT identity_no, arg_max(profile_no, commit_no) AS profile_no"
            f" FROM {self._files(manifest, MEMBERS)} GROUP BY identity_no"
        )
        self._root.execute(
            f"CREATE TABLE {schema}.members AS"
            f" SELECT * FROM {schema}.everyone WHERE identity_no <> profile_no"
        )
        self._root.execute(
            f"CREATE TABLE {schema}.people AS SELECT DISTINCT profile_no FROM {schema}.everyone"
        )
        self._root.execute(f"DROP TABLE {schema}.everyone")
        people = self._root.execute(
            f"SELECT profile_no::UINTEGER AS profile_no FROM {schema}.people"
        ).fetchnumpy()
        found = _Map(schema, manifest.names(MEMBERS), _bitmap(people["profile_no"]))
        weakref.finalize(found, self._unused.append, schema).atexit = False
        return found

    def _schema(self, kind: str) -> str:
        self._serial += 1
        self._root.execute(f"CREATE SCHEMA {kind}_{self._serial}")
        return f"{kind}_{self._serial}"

    def _files(self, manifest: Manifest, dataset: str) -> str:
        paths = (str(self._directory.path / name).replace("'", "''") for name in manifest.names(dataset))
        return "read_parquet([{}], union_by_name = true)".format(", ".join(f"'{path}'" for path in paths))


def _connect(directory: Path, memory_limit: str) -> duckdb.DuckDBPyConnection:
    directory.mkdir(parents=True, exist_ok=True)
    root = duckdb.connect(
        ":memory:",
        config={
            "temp_directory": "",  # clear values never spill to a file
            "memory_limit": memory_limit,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "preserve_insertion_order": "false",
        },
    )
    root.execute("SET parquet_metadata_cache = true")
    root.execute("CREATE MACRO evaluated_at() AS getvariable('evaluated_at')::BIGINT")
    path = str(directory).replace("'", "''")
    root.execute(f"SET allowed_directories = ['{path}']")
    root.execute("SET enable_external_access = false")
    root.execute("SET lock_configuration = true")
    return root


def _ranks(name: str, told: Mapping[int, int]) -> Iterator[tuple[str, int, int]]:
    """Yield (trait, source, place among the figures, from 0), whatever figures a policy names."""
    figures = sorted({0, *told.values()})
    least = figures.index(0)
    yield from ((name, source, figures.index(rank) - least) for source, rank in sorted(told.items()))


def _numbers(column: Any) -> _Numbers:
    return np.ascontiguousarray(column, dtype=np.uint32)


def _bitmap(numbers: Any) -> BitMap:
    values = array("I")
    values.frombytes(_numbers(numbers).tobytes())
    return BitMap(values)
