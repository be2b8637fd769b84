"""One open database.

``Store.reading()`` is one consistent snapshot that never blocks a writer. Writing goes through
``cdp.store.commit`` alone. A failure of the database becomes a ``StoreError`` that names no value.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from cdp.errors import RefusedValueError, StoreError
from cdp.store import dialect, locks
from cdp.store.disk import has_room
from cdp.store.scrub import scrub


class LostError(StoreError):
    """It lost against others that wrote at the same time, and nothing of it is stored."""


class Store:
    """A database and, on SQLite, the lock that keeps its one writer alone.

    :param url: SQLAlchemy URL of an SQLite file or a PostgreSQL database.
    """

    def __init__(self, url: str) -> None:
        self.engine: Engine = dialect.make_engine(url)
        self.kind = self.engine.dialect.name
        self.single_writer = dialect.is_single_writer(self.engine)
        name = self.engine.url.database if self.single_writer else None
        self._folder = Path(name).parent if name and name != ":memory:" else None
        self._write_lock = threading.Lock()
        self._naming = threading.Lock()
        self._held = set[str]()
        self._driver_error: type[Exception] = self.engine.dialect.loaded_dbapi.Error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open one read-only snapshot.

        :raises StoreError: the database does not answer.
        """
        with self._connected(writes=False) as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open one writing connection; only ``cdp.store.commit`` may use it and must commit it.

        :raises StoreError: the database does not answer, is full or is read-only.
        """
        if not self.single_writer:
            with self._connected(writes=True) as connection:
                yield connection
            return
        with self._write_lock, self._connected(writes=True) as connection:
            yield connection

    @contextmanager
    def _connected(self, *, writes: bool) -> Iterator[Connection]:
        try:
            with self.engine.connect() as raw:
                yield raw.execution_options(**dialect.begin_options(self.engine, writes=writes))
        except PoolTimeoutError:
            raise StoreError("every connection to the database is in use") from None
        except (DBAPIError, self._driver_error) as error:
            if dialect.is_retryable(error):
                raise LostError from None
            kinds = [kind.__name__ for kind in type(getattr(error, "orig", None) or error).__mro__]
            if "DataError" in kinds or "IntegrityError" in kinds:  # of the DB-API; it may tell the value
                raise RefusedValueError(f"the database refuses a value: {kinds[0]}") from None
            raise StoreError(f"the database failed: {_first_line(error)}") from None

    def check_room(self) -> None:
        """Let pass, or refuse because the disk is full; a server's disk is its own affair.

        Asked apart, as a small write may still find room in a file where a batch finds none.

        :raises StoreError: SQLite's disk has no room for another batch.
        """
        if self._folder is not None and not has_room(self._folder):
            raise StoreError("the database's disk is full")

    @contextmanager
    def holding(self, name: str) -> Iterator[bool]:
        """Hold a name that nobody else holds meanwhile, in any process; yields whether it was free.

        It is free again when its holder dies. Where one process writes, it is alone and knows its own names.
        """
        if not self.single_writer:
            with self.reading() as connection:
                yield locks.hold(connection, name)
            return
        with self._naming:
            free = name not in self._held
            self._held.add(name)
        try:
            yield free
        finally:
            if free:
                self._held.discard(name)

    def held(self, name: str) -> bool:
        """Return whether anybody holds a name."""
        if self.single_writer:
            return name in self._held
        with self.reading() as connection:
            return locks.is_held(connection, name)

    def scrub(self, tables: Iterable[str]) -> bool:
        """Take what was deleted from ``tables`` out of the files (``scrub.py``); False: try again."""
        try:
            return scrub(self.engine, tables)
        except (DBAPIError, self._driver_error) as error:
            raise StoreError(f"the database failed: {_first_line(error)}") from None

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()


def _first_line(error: Exception) -> str:
    """Return the driver's first line, which names tables and limits; later lines may hold values."""
    original = getattr(error, "orig", error)
    lines = str(original).splitlines()
    return f"{type(original).__name__}: {lines[0][:200] if lines else ''}"
