"""Reading the mirror, one consistent snapshot at a time, on whichever engine.

Invariants: a snapshot sees exactly the files of one manifest, whatever is refreshed or merged meanwhile.
An identity without a row in the map is a profile of its own number; snapshots whose files are the same
share what the engine opened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pyroaring import BitMap

from cdp.clock import Micros
from cdp.errors import ConfigurationError, MissingExtraError, UnavailableError
from cdp.profiles import Trust
from cdp.warehouse.duck import DuckEngine
from cdp.warehouse.engine import Columns, Engine, Generation, Rank, Tables
from cdp.warehouse.files import Directory
from cdp.warehouse.model import EVENTS, MEMBERS, TRAITS, Manifest, Scan
from cdp.warehouse.sets import bitmap

Numbers = np.ndarray[tuple[int], np.dtype[np.uint32]]
_TRIES = 3


class _Map:
    """The identity→profile map of one manifest: the engine's, and what of it is kept here."""

    def __init__(self, files: tuple[str, ...], held: object) -> None:
        self.files = files
        self.held = held
        self.everyone: BitMap | None = None
        self.moved: tuple[Numbers, Numbers] | None = None  # identities, ascending, and their profiles


class _Opened:
    """What snapshots of the same files share."""

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        ranks: list[Rank],
        tables: Tables,
        members: _Map,
        generation: Generation,
    ) -> None:
        self._directory = directory
        self.files = manifest.files
        self.ranks = ranks
        self.tables = tables
        self.members = members
        self.run = generation.run

    def needed(self, scan: Scan) -> list[Path]:
        """Return the files of ``events`` that may hold what ``scan`` looks at."""
        return [self._directory / file.name for file in self.files.get(EVENTS, ()) if file.may_hold(scan)]


class Snapshot:
    """The mirror as of one commit.

    :param commit_no: every commit up to it is visible.
    :param as_of: when that was mirrored.
    :param erasure_epoch: whoever was erased up to it is in no file; -1 while somebody is on the way out.
    :param dialect: the SQL that ``run`` takes, as ``ibis.to_sql`` names it.
    :param together: how many queries are best put into one statement.
    """

    def __init__(self, dialect: str, together: int, opened: _Opened, manifest: Manifest) -> None:
        self._opened = opened
        self.dialect = dialect
        self.together = together
        self.commit_no = manifest.commit_no
        self.as_of: Micros = manifest.refreshed_at
        self.erasure_epoch = -1 if manifest.erasing else manifest.epoch
        self.tables = opened.tables

    @property
    def everyone(self) -> BitMap:
        """All profiles."""
        held = self._opened.members
        if held.everyone is None:
            held.everyone = bitmap(self.run("SELECT profile_no FROM people", 0)["profile_no"])
        return held.everyone.copy()

    def run(self, sql: str, now: Micros, scan: Scan | None = None) -> Columns:
        """Run a query over the tables and return its columns, as numpy arrays.

        :param sql: of this snapshot's dialect, as compiled from Ibis.
        :param now: what ``evaluated_at()`` returns in it.
        :param scan: which events it looks at, so that files without any stay closed; None: it may be any.
        :raises UnavailableError: the engine failed or needs more memory than it may have.
        """
        return self._opened.run(sql, now, None if scan is None else self._opened.needed(scan))

    def mapped(self, identities: BitMap) -> BitMap:
        """Return the profiles, as this snapshot maps them, of some identities."""
        return bitmap(self.profiles_of(identities))

    def profiles_of(self, identities: BitMap) -> Numbers:
        """Return the profile, as this snapshot maps it, of each of some identities, in their order."""
        held = self._opened.members
        if held.moved is None:
            moved = self.run("SELECT identity_no, profile_no FROM members ORDER BY identity_no", 0)
            held.moved = (_numbers(moved["identity_no"]), _numbers(moved["profile_no"]))
        movers, profiles = held.moved
        found = np.frombuffer(identities.to_array(), dtype=np.uint32)
        place = np.searchsorted(movers, found)
        place[place == len(movers)] = 0
        if len(movers):
            found = np.where(movers[place] == found, profiles[place], found)
        return found


class Warehouse:
    """The mirror's readers' side; may be used by many threads.

    :param directory: the mirror's directory.
    :param trust: returns trait → source id → how far it is trusted (higher is more), for traits of which the
        most trusted source holds; a source without a word has 0.
    :param engine: what runs the queries, closed with the warehouse; DuckDB unless given.
    """

    def __init__(
        self,
        directory: Path,
        *,
        trust: Callable[[], Trust] = dict,
        engine: Engine | None = None,
    ) -> None:
        self._directory = Directory(directory)
        self.trust = trust
        self._engine: Engine = DuckEngine(directory) if engine is None else engine
        self._lock = threading.Lock()
        self._current: _Opened | None = None

    @property
    def is_filled(self) -> bool:
        """True once something was mirrored."""
        return bool(self._directory.read().files)

    def snapshot(self) -> Snapshot:
        """Return the newest published state.

        :raises UnavailableError: nothing was mirrored yet, the files cannot be read, or the engine cannot be
            reached.
        """
        for attempt in range(_TRIES):
            manifest = self._directory.read()
            if not manifest.files:
                raise UnavailableError("the warehouse is empty; it fills within seconds of the start")
            try:
                with self._lock:
                    opened = self._open(manifest)
                    return Snapshot(self._engine.dialect, self._engine.together, opened, manifest)
            except OSError as error:  # merged away between the manifest and the files
                if attempt == _TRIES - 1:
                    raise UnavailableError("the warehouse's files cannot be read") from error
        raise AssertionError

    def close(self) -> None:
        """Give back what the engine holds."""
        self._engine.close()

    # -- under the lock -------------------------------------------------------------------------

    def _open(self, manifest: Manifest) -> _Opened:
        ranks = [row for name, told in self.trust().items() for row in ranks_of(name, told)]
        current = self._current
        if current is not None and current.files == manifest.files and ranks == current.ranks:
            return current
        members = None if current is None else current.members
        if members is None or members.files != manifest.names(MEMBERS):
            members = _Map(manifest.names(MEMBERS), self._engine.map(self._paths(manifest, MEMBERS)))
        files = {dataset: self._paths(manifest, dataset) for dataset in (EVENTS, TRAITS)}
        tables = Tables(manifest.declared)
        generation = self._engine.open(files, tables, ranks, members.held)
        self._current = _Opened(self._directory.path, manifest, ranks, tables, members, generation)
        return self._current

    def _paths(self, manifest: Manifest, dataset: str) -> list[Path]:
        return [self._directory.path / name for name in manifest.names(dataset)]


def open_engine(choice: str, directory: Path) -> Engine:
    """Open the engine that ``CDP_WAREHOUSE`` names; its library is imported only when it is chosen.

    :param choice: ``duckdb``, ``spark-local`` or ``spark://HOST:PORT``.
    :param directory: the mirror's.
    :raises ConfigurationError: there is no such engine, or what it needs of this machine is not there.
    :raises MissingExtraError: its library is not installed.
    """
    if choice == "duckdb":
        return DuckEngine(directory)
    if choice == "spark-local" or choice.startswith("spark://"):
        try:
            from cdp.warehouse.spark import SparkEngine  # noqa: PLC0415  # an extra, needed only when chosen
        except ModuleNotFoundError as error:
            raise MissingExtraError("spark", "a warehouse on Spark") from error
        return SparkEngine("local[*]" if choice == "spark-local" else choice)
    raise ConfigurationError("CDP_WAREHOUSE must be duckdb, spark-local or spark://HOST:PORT")


def ranks_of(name: str, told: Mapping[int, int]) -> Iterator[Rank]:
    """Yield (trait, source, place among the figures, from 0), whatever figures a policy names."""
    figures = sorted({0, *told.values()})
    least = figures.index(0)
    yield from ((name, source, figures.index(rank) - least) for source, rank in sorted(told.items()))


def _numbers(column: Any) -> Numbers:
    return np.ascontiguousarray(column, dtype=np.uint32)
