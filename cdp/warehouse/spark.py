"""Spark over the mirror's files: in this process's own Java machine, or on a standalone cluster.

Invariants: whatever Spark writes to a disk (shuffles, spills, what does not fit) is encrypted with a key that
a session makes and only its memory holds; what it sends to another process is authenticated and encrypted;
it has no web page, no event log, no metastore, and logs nothing, because its messages show values. A
cluster's executors read the mirror's directory under the same path as this process.

Steps of a query:

1. The Java machine and the session are made when first needed, and made anew after the session has ended
   (a cluster that was restarted).
2. A generation has a Spark session of its own, with the temporary views ``events``, ``traits``, ``members``,
   ``people`` and ``trust``; they are made when it is first asked in the session at hand.
3. ``evaluated_at()`` becomes a temporary function of that session. A query is resolved under its lock, which
   fixes the instant; the jobs run outside it.

Settings of the cluster, its secret above all, come from where Spark's own tools take them: the file
``spark-defaults.conf`` of ``SPARK_CONF_DIR``.
"""

# ruff: noqa: S608  # SQL is put together from our own names; values are quoted by Ibis or are arguments

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, TimeoutExpired, run
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import ibis  # type: ignore[import-untyped]  # publishes no types
import numpy as np
import pyarrow as pa
from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # publishes no types
from pyspark import SparkConf, SparkContext, StorageLevel
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway
from pyspark.sql import DataFrame, SparkSession, functions
from pyspark.sql.types import BooleanType, DataType, DoubleType, LongType, StringType, StructField, StructType

from cdp.clock import Micros
from cdp.errors import ConfigurationError, UnavailableError
from cdp.warehouse.engine import PEOPLE, TRUST, Columns, Rank, Tables
from cdp.warehouse.model import EVENTS, MEMBERS, TRAITS

ibis.load_backend("pyspark")  # its compiler asks for its options

_JAVA = range(17, 22)  # what Spark 4 runs on
_REACH_S = 3.0  # for a cluster's master to take a connection
_ENDING_S = 20.0  # for a Java machine
_AGAIN_S = 0.5  # between two attempts to cancel one
_PATIENCE_S = 300.0  # for a query; a cluster without executors would let it wait for ever
_TYPES: dict[str, DataType] = {
    "int64": LongType(),
    "float64": DoubleType(),
    "string": StringType(),
    "boolean": BooleanType(),
}
_NO_CRASH_FILES = "-XX:ErrorFile=/dev/null -XX:-UsePerfData"  # a crash report shows the strings in reach
_SETTINGS = {
    "spark.app.name": "cdp",
    "spark.authenticate": "true",
    "spark.network.crypto.enabled": "true",
    "spark.io.encryption.enabled": "true",
    "spark.io.encryption.keySizeBits": "256",
    "spark.executor.defaultJavaOptions": _NO_CRASH_FILES,
    "spark.log.level": "OFF",
    "spark.ui.enabled": "false",
    "spark.eventLog.enabled": "false",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",  # what does not fit is an error, as on DuckDB
    "spark.sql.caseSensitive": "true",
    "spark.sql.variable.substitute": "false",  # else ${…} inside a quoted value would be replaced
    "spark.sql.constraintPropagation.enabled": "false",  # doubles its time with each condition of a pass
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "10000",  # no job to list files that we name
}
_UNLESS_SET = {"spark.sql.shuffle.partitions": "4"}
_EVALUATED_AT = "CREATE OR REPLACE TEMPORARY FUNCTION evaluated_at() RETURNS BIGINT RETURN {}L"
_WALL_CLOCK = (
    "CREATE OR REPLACE TEMPORARY FUNCTION wall_clock(instant BIGINT, place STRING) RETURNS BIGINT "
    "RETURN unix_micros(from_utc_timestamp(timestamp_micros(instant), place))"
)
_FAILURES = (PySparkException, Py4JError, OSError, EOFError, ValueError)


class SparkEngine:
    """Spark as one session of this process.

    :param master: ``local[*]`` or ``spark://HOST:PORT``, several masters separated by commas.
    :raises ConfigurationError: there is no Java of the right version, or the master is no address.
    """

    dialect = "pyspark"
    together = 32  # each statement costs a job of its own

    def __init__(self, master: str) -> None:
        self._master = master
        self._addresses = _addresses(master)
        _check_java()
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self._unused: deque[tuple[_Connection, str]] = deque()
        self._serial = 0

    def map(self, files: Sequence[Path]) -> _Map:
        """Note the files; they are read with the first query."""
        _check_there(files)
        self._serial += 1
        return _Map(f"map_{self._serial}", files, self._unused)

    def open(
        self, files: Mapping[str, Sequence[Path]], tables: Tables, ranks: Sequence[Rank], members: _Map
    ) -> _Generation:
        """Note the files; they are read with the first query."""
        for paths in files.values():
            _check_there(paths)
        return _Generation(self, files, tables, ranks, members)

    def connected(self) -> _Connection:
        """Return the session at hand, made anew when there is none or it has ended.

        :raises UnavailableError: the cluster cannot be reached or refuses.
        """
        with self._lock:
            if self._connection is not None and self._connection.ended:
                self._connection.close()
                self._connection = None
            if self._connection is None:
                _reach(self._addresses)
                self._connection = _Connection(self._master)
            while self._unused:
                connection, name = self._unused.popleft()
                if connection is self._connection:
                    connection.drop(name)
            return self._connection

    def close(self) -> None:
        """End the session and its Java machine."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class _Connection:
    """A Java machine with one Spark context.

    :param root: the session that the sessions of generations come from.
    """

    def __init__(self, master: str) -> None:
        with _failures("Spark cannot be started"), ExitStack() as opened:
            folder = opened.enter_context(TemporaryDirectory(prefix="cdp-spark-", ignore_cleanup_errors=True))
            starting = SparkConf(loadDefaults=False).set("spark.driver.defaultJavaOptions", _NO_CRASH_FILES)
            silent = {"stdout": DEVNULL, "stderr": DEVNULL}
            gateway = launch_gateway(starting, silent)  # type: ignore[no-untyped-call]  # publishes no types
            opened.callback(_end, gateway)
            conf = SparkConf(_jvm=gateway.jvm)  # reads spark-defaults.conf
            for name, value in _UNLESS_SET.items():
                conf.setIfMissing(name, value)
            places = {"spark.master": master, "spark.local.dir": folder, "spark.sql.warehouse.dir": folder}
            if master.startswith("local"):
                places |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
            for name, value in (_SETTINGS | places).items():
                conf.set(name, value)
            self._context = SparkContext(gateway=gateway, conf=conf)
            opened.callback(self._stop)
            self.root = SparkSession(self._context)
            self._opened = opened.pop_all()

    @property
    def ended(self) -> bool:
        """True when the session can run nothing more."""
        try:
            return bool(self._context._jsc.sc().isStopped())  # noqa: SLF001  # only Java can say
        except (Py4JError, AttributeError, OSError):
            return True

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Cancel the jobs of the block when they take too long, those too that it starts after that."""
        group, done = uuid4().hex, threading.Event()
        watch = threading.Thread(target=self._cancel, args=(group, done), daemon=True)
        watch.start()
        try:
            self._context.setJobGroup(group, "a query")
            yield
        finally:
            done.set()

    def drop(self, name: str) -> None:
        """Drop the views of a map, and what is held of them in memory."""
        with suppress(*_FAILURES):
            for view in (MEMBERS, PEOPLE):
                self.root.table(f"global_temp.{name}_{view}").unpersist()
                self.root.catalog.dropGlobalTempView(f"{name}_{view}")

    def close(self) -> None:
        """End both, and remove what is left on the disk."""
        self._opened.close()

    def _cancel(self, group: str, done: threading.Event) -> None:
        over = done.wait(_PATIENCE_S)
        while not over:
            with suppress(*_FAILURES):
                self._context.cancelJobGroup(group)
            over = done.wait(_AGAIN_S)

    def _stop(self) -> None:
        with suppress(*_FAILURES, RuntimeWarning):
            self.root.stop()


class _Map:
    """The identity→profile map of one manifest: two global views, which every session sees.

    :param name: what the views' names begin with.
    :param unused: where the views are named when nobody refers to the map any more.
    """

    def __init__(self, name: str, files: Sequence[Path], unused: deque[tuple[_Connection, str]]) -> None:
        self._name = name
        self._files = files
        self._unused = unused
        self._lock = threading.Lock()
        self._made: _Connection | None = None

    def views(self, connection: _Connection) -> dict[str, str]:
        """Return the names of the views ``members`` and ``people``, made where they are not yet."""
        with self._lock:
            if self._made is not connection:
                self._make(connection)
        return {view: f"global_temp.{self._name}_{view}" for view in (MEMBERS, PEOPLE)}

    def _make(self, connection: _Connection) -> None:
        columns = {"identity_no": "int64", "profile_no": "int64", "commit_no": "int64"}
        everyone = (
            _read(connection.root, self._files, columns)
            .groupBy("identity_no")
            .agg(functions.max_by("profile_no", "commit_no").alias("profile_no"))
        )
        moved = everyone.filter("identity_no <> profile_no")
        for view, frame in ((MEMBERS, moved), (PEOPLE, everyone.select("profile_no").distinct())):
            frame.persist(StorageLevel.MEMORY_ONLY).createOrReplaceGlobalTempView(f"{self._name}_{view}")
        self._made = connection
        weakref.finalize(self, self._unused.append, (connection, self._name)).atexit = False


class _Generation:
    """One manifest's files: a session with the views over them."""

    def __init__(
        self,
        engine: SparkEngine,
        files: Mapping[str, Sequence[Path]],
        tables: Tables,
        ranks: Sequence[Rank],
        members: _Map,
    ) -> None:
        self._engine = engine
        self._files = files
        self._tables = tables
        self._ranks = ranks
        self._members = members
        self._lock = threading.Lock()
        self._made: tuple[_Connection, SparkSession] | None = None

    def run(self, sql: str, now: Micros, events: Sequence[Path] | None = None) -> Columns:
        del events  # its executors see from a file's footer that nothing in it is looked at
        connection = self._engine.connected()
        with connection.bounded(), _failures("the warehouse failed"):
            with self._lock:
                session = self._session(connection)
                session.sql(_EVALUATED_AT.format(int(now)))
                frame = session.sql(sql)
            found = frame.toArrow()
        return {name: _numpy(found.column(name)) for name in found.column_names}

    def _session(self, connection: _Connection) -> SparkSession:
        if self._made is not None and self._made[0] is connection:
            return self._made[1]
        session = connection.root.newSession()
        session.sql(_WALL_CLOCK)
        for dataset, table in ((EVENTS, self._tables.events), (TRAITS, self._tables.traits)):
            _read(session, self._files[dataset], _columns(table)).createTempView(dataset)
        for view, name in self._members.views(connection).items():
            session.table(name).createTempView(view)
        _listed(session, self._ranks, _columns(self._tables.trust)).createTempView(TRUST)
        self._made = (connection, session)
        return session


def _columns(table: ibis.Table) -> dict[str, str]:
    return {name: str(kind) for name, kind in table.schema().items()}


def _schema(columns: Mapping[str, str]) -> StructType:
    return StructType([StructField(name, _TYPES[kind]) for name, kind in columns.items()])


def _read(session: SparkSession, files: Sequence[Path], columns: Mapping[str, str]) -> DataFrame:
    """Return files as one table with these columns; one that a file has not is NULL there."""
    if not files:
        return _listed(session, (), columns)
    paths = (re.sub(r"([\\*?{}\[\],])", r"\\\1", str(path)) for path in files)  # else some would be patterns
    return session.read.schema(_schema(columns)).parquet(*(f"file://{path}" for path in paths))


def _listed(session: SparkSession, rows: Sequence[Rank], columns: Mapping[str, str]) -> DataFrame:
    """Return rows as a table that is part of the query's plan."""
    names = [f"CAST(col{n} AS {_TYPES[kind].simpleString()})" for n, kind in enumerate(columns.values(), 1)]
    named = ", ".join(f"{value} AS `{name}`" for value, name in zip(names, columns, strict=True))
    if not rows:
        nothing = ", ".join(["NULL"] * len(columns))
        return session.sql(f"SELECT {named} FROM VALUES ({nothing}) WHERE false")
    row = "({})".format(", ".join("?" * len(columns)))
    values = [value for one in rows for value in one]
    return session.sql(f"SELECT {named} FROM VALUES {', '.join([row] * len(rows))}", values)


def _numpy(column: Any) -> Any:
    """Return an Arrow column as a numpy array, a masked one where there are NULLs."""
    if not column.null_count:
        return column.to_numpy()
    mask = column.is_null().to_numpy()
    filled = column.fill_null(pa.scalar(0).cast(column.type))
    return np.ma.masked_array(filled.to_numpy(), mask=mask)


def _check_there(files: Sequence[Path]) -> None:
    for path in files:
        path.stat()


def _addresses(master: str) -> list[tuple[str, int]]:
    """Return the hosts and ports of a cluster's masters; none when Spark runs in this process."""
    if master.startswith("local"):
        return []
    found = [part.rpartition(":") for part in master.removeprefix("spark://").split(",")]
    if not all(host and port.isdecimal() for host, _, port in found):
        raise ConfigurationError("CDP_WAREHOUSE: a Spark cluster is named spark://HOST:PORT")
    return [(host.strip("[]"), int(port)) for host, _, port in found]


def _reach(addresses: Sequence[tuple[str, int]]) -> None:
    """Raise at once what Spark would find out in a minute: that no master is there."""
    for address in addresses:
        with suppress(OSError), socket.create_connection(address, _REACH_S):
            return
    if addresses:
        raise UnavailableError("the Spark cluster of CDP_WAREHOUSE cannot be reached")


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    told = ""
    if java is not None:
        told = run([java, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603  # ours
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) not in _JAVA:
        raise ConfigurationError(
            "CDP_WAREHOUSE: Spark needs Java 17 to 21: apt-get install openjdk-17-jre-headless"
            " (JAVA_HOME names one of several)"
        )


def _end(gateway: Any) -> None:
    """End a Java machine, and have pyspark forget it."""
    SparkContext._gateway = SparkContext._jvm = None  # noqa: SLF001  # else the next session asks the dead one
    with suppress(*_FAILURES):
        gateway.shutdown()
    gateway.proc.stdin.close()  # which ends it
    try:
        gateway.proc.wait(_ENDING_S)
    except TimeoutExpired:
        gateway.proc.kill()
        gateway.proc.wait()


@contextmanager
def _failures(what: str) -> Iterator[None]:
    """Name a failure by its kind: Spark's own messages show queries and values."""
    try:
        yield
    except _FAILURES as error:
        kind = (error.getCondition() if isinstance(error, PySparkException) else None) or type(error).__name__
        raise UnavailableError(f"{what} ({kind})") from None
