"""Every difference between SQLite and PostgreSQL, and nothing else; many rows at once: ``bulk.py``.

The rest of the code writes common SQLAlchemy Core. A file outside ``cdp/store/`` that names a
dialect fails the architecture tests.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    CursorResult,
    Dialect,
    Engine,
    Table,
    Text,
    TypeDecorator,
    any_,
    bindparam,
    create_engine,
    event,
    literal,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql import Select
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeEngine, UserDefinedType

from cdp.errors import ConfigurationError, MissingExtraError

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA secure_delete=ON",
    "PRAGMA foreign_keys=ON",
    "PRAGMA busy_timeout=30000",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-65536",
    "PRAGMA wal_autocheckpoint=20000",
)
_STATEMENTS = 1000  # compiled ones that a connection to SQLite keeps
_CHUNK = 5000  # keys of one look-up
_NUMBERS = "numbers"  # the parameter of ``among`` that is bound when the statement runs
_IDLE, _IDLE_SECONDS = "cdp_idle_since", 1.0  # after which a connection to PostgreSQL is proven to be alive


def make_engine(url: str) -> Engine:
    """Return an engine for ``url`` whose errors never show parameters.

    :raises ConfigurationError: the URL is not one of SQLite or PostgreSQL.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, hide_parameters=True, connect_args={"cached_statements": _STATEMENTS})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.get_backend_name() == "postgresql":
        try:
            engine = create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                hide_parameters=True,
                pool_size=16,
                max_overflow=16,
                pool_use_lifo=True,  # few server processes stay warm, instead of all of them cold
                connect_args={"options": "-c jit=off -c timezone=UTC"},
            )
        except ModuleNotFoundError as error:
            raise MissingExtraError("postgres", "a PostgreSQL database") from error
        event.listen(engine, "checkin", _note_idle)
        event.listen(engine, "checkout", _prove_alive)
        return engine
    raise ConfigurationError("CDP_DATABASE_URL must begin with sqlite:/// or postgresql://")


def is_single_writer(engine: Engine) -> bool:
    """True when only one process, and in it one transaction at a time, may write."""
    return engine.dialect.name == "sqlite"


def _note_idle(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[_IDLE] = time.monotonic()


def _prove_alive(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Ask a connection that lay idle whether its server is there; where it is not, the pool begins anew."""
    if time.monotonic() - record.info.get(_IDLE, 0.0) < _IDLE_SECONDS:
        return
    try:
        connection.execute("")
        connection.rollback()
    except connection.Error:  # psycopg's
        raise InvalidatePoolError from None


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    cursor = connection.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("cdp_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def begin_options(engine: Engine, *, writes: bool) -> dict[str, Any]:
    """Execution options under which a transaction is opened.

    A read is one snapshot on both: SQLite's deferred transaction, PostgreSQL's REPEATABLE READ.
    A write is READ COMMITTED on PostgreSQL, so that a row lock shows what its holder committed.
    """
    if engine.dialect.name == "sqlite":
        return {"cdp_writes": writes}
    if writes:
        return {"isolation_level": "READ COMMITTED"}
    return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def is_retryable(error: BaseException) -> bool:
    """True for a deadlock victim or a serialisation failure: the same work may simply run again."""
    original = getattr(error, "orig", error)
    return getattr(original, "sqlstate", None) in {"40P01", "40001"}


def chunks(keys: Iterable[Any], size: int = _CHUNK) -> Iterator[list[Any]]:
    """Cut ``keys`` into lists of at most ``size``: what one look-up takes."""
    rest = iter(keys)
    while chunk := list(islice(rest, size)):
        yield chunk


class _Array(UserDefinedType[Any]):
    """PostgreSQL's array, given as text: the driver's own arrays cost several times as much."""

    cache_ok = True
    render_bind_cast = True  # the parameter itself is the array: a cast of a text is evaluated at each row

    def __init__(self, of: str) -> None:
        self.of = of

    def get_col_spec(self, **_options: Any) -> str:
        """Return the name of the type."""
        return f"{self.of}[]"


class _Numbers(TypeDecorator[Any]):
    """Many integers as one text: of an array on PostgreSQL, of JSON on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return what the text is of."""
        return dialect.type_descriptor(_Array("BIGINT") if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        """Return the text."""
        text = str(value)
        return f"{{{text[1:-1]}}}" if dialect.name == "postgresql" else text


class among(ColumnElement[bool]):  # noqa: N801  # reads as the function it is
    """``column IN numbers`` with one bound value, however many there are: the statement stays the same.

    :param numbers: integers; None for those that ``read_among`` is told.
    """

    inherit_cache = True
    type = Boolean()
    _traverse_internals = [  # noqa: RUF012  # as every SQLAlchemy element declares them
        ("column", InternalTraversal.dp_clauseelement),
        ("numbers", InternalTraversal.dp_clauseelement),
    ]

    def __init__(self, column: ColumnElement[Any], numbers: Iterable[int] | None = None) -> None:
        self.column = column
        self.numbers = (
            bindparam(_NUMBERS, type_=_Numbers()) if numbers is None else literal(list(numbers), _Numbers())
        )

    def self_group(self, against: Any = None) -> among:  # noqa: ARG002  # the signature is SQLAlchemy's
        """Return itself: as a mere boolean it would become ``… = 1`` on SQLite, which uses no index."""
        return self


@compiles(among, "postgresql")
def _among_array(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, numbers = (compiler.process(part, **options) for part in (element.column, element.numbers))
    return f"{column} = ANY({numbers})"


@compiles(among, "sqlite")
def _among_json(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, numbers = (compiler.process(part, **options) for part in (element.column, element.numbers))
    return f"{column} IN (SELECT value FROM json_each({numbers}))"  # noqa: S608  # a column and a bound value


def among_bytes(
    connection: Connection, column: ColumnElement[bytes], values: Sequence[bytes]
) -> ColumnElement[bool]:
    """Return ``column IN values``, on PostgreSQL with one bound value, however many there are."""
    if connection.dialect.name == "sqlite":
        return column.in_(values)
    return column == any_(literal(f"{{{','.join([_hex(value) for value in values])}}}", _Array("BYTEA")))


def _hex(value: bytes) -> str:
    return f'"\\\\x{value.hex()}"'


def read_rows(connection: Connection, query: Select[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of ``query`` as the driver gives them: nothing is converted, so nothing is slow.

    For columns that both drivers give alike: numbers, text, bytes.
    """
    return rows_of(connection.execute(query))


def read_among(connection: Connection, query: Select[Any], numbers: Iterable[int]) -> list[tuple[Any, ...]]:
    """Return the rows of ``query`` for these numbers, as the driver gives them, a chunk after the other.

    :param query: with an ``among`` without numbers. Made once: to make one costs more than to run it.
    """
    found: list[tuple[Any, ...]] = []
    for chunk in chunks(numbers):
        found += rows_of(connection.execute(query, {_NUMBERS: chunk}))
    return found


def rows_of(result: CursorResult[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a result as the driver gives them; none where it has none to give."""
    return [] if result.cursor is None else list(result.cursor.fetchall())


def lock_rows(query: Select[Any]) -> Select[Any]:
    """Lock the rows that ``query`` reads until the transaction ends (SQLite: its writer is alone)."""
    return query.with_for_update()


def share_rows(query: Select[Any]) -> Select[Any]:
    """Let nobody change the rows that ``query`` reads until the transaction ends; others may share them."""
    return query.with_for_update(read=True)


def lock_table(connection: Connection, table: Table) -> None:
    """Let nobody else write in ``table`` until the transaction ends; waits for whoever does.

    SQLite: its writer is alone. Take it before the head: those it waits for take that last.
    """
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE")
