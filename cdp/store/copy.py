"""A whole database into a file and back, while others write to it.

Invariants: a copy is one snapshot, whatever is committed meanwhile. It lacks the rows of the tables given
as ``without``: a table whose single row says "this database is in order" thus marks every copy as one that
is not. A file that is not whole is not left behind under its name by ``restore``; ``dump`` writes where its
caller keeps unfinished work.

SQLite: the online backup API from a read transaction held open, so that writers neither wait nor make it
start again. PostgreSQL: ``pg_dump`` in its custom format, under the snapshot that this process exports and
reads its figures from.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import URL

from cdp.errors import ConfigurationError, ConflictError, StoreError
from cdp.store.dialect import is_single_writer
from cdp.store.disk import flush, put_in_place
from cdp.store.engine import Store

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""(done, of all), in the same unit; of all is 0 where nobody knows."""
_PAGES = 4096
_WATCH_SECONDS = 0.5


def revision(connection: Connection) -> str:
    """Return the schema revision of a database; empty when nobody initialised it."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def require_vacant(store: Store) -> None:
    """Let pass when the database has no table at all.

    :raises ConflictError: it has.
    :raises StoreError: it cannot be read.
    """
    with store.reading() as connection:
        if inspect(connection).get_table_names():
            raise ConflictError("the database to restore into is not empty; name another, or move it away")


def dump(
    store: Store,
    file: Path,
    figures: Callable[[Connection], T],
    progress: Progress,
    without: Collection[str] = (),
) -> T:
    """Copy the database into ``file``, which does not exist yet.

    :param figures: reads from the very snapshot that is copied; its answer is returned.
    :param without: tables whose rows are left out.
    :raises ConfigurationError: the database's client program is not installed.
    :raises StoreError: it failed; the file may be there in part.
    """
    with store.reading() as connection:
        found = figures(connection)
        if is_single_writer(store.engine):
            _dump_file(connection, file, progress, without)
        else:
            _dump_server(connection, store.engine.url, file, progress, without)
    flush(file)
    return found


def restore(store: Store, file: Path, progress: Progress) -> None:
    """Fill an empty database from ``file``.

    :raises ConflictError: the database is not empty; nothing was changed.
    :raises ConfigurationError: the database's client program is not installed.
    :raises StoreError: it failed; the database is as empty as before.
    """
    require_vacant(store)
    if is_single_writer(store.engine):
        _restore_file(store, file, progress)
    else:
        _restore_server(store.engine.url, file, progress)


def _dump_file(connection: Connection, file: Path, progress: Progress, without: Collection[str]) -> None:
    source = connection.connection.driver_connection
    if not isinstance(source, sqlite3.Connection):
        raise StoreError("the database's driver is not the one that can copy it")
    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as copy:
            source.backup(
                copy, pages=_PAGES, progress=lambda _status, left, pages: progress(pages - left, pages)
            )
            copy.execute("PRAGMA journal_mode=DELETE")
            copy.execute("PRAGMA secure_delete=ON")
            for table in without:
                copy.execute(f"DELETE FROM {table}")  # noqa: S608  # names of our tables
    except sqlite3.Error as error:
        raise StoreError(f"the copy failed: {type(error).__name__}") from None


def _restore_file(store: Store, file: Path, progress: Progress) -> None:
    """Copy beside the database's file and then give it the name: it is there whole or not at all."""
    target = Path(store.engine.url.database or "")
    store.close()
    for suffix in ("", "-wal", "-shm"):  # the empty database that asking for its tables made
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    beside = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        with file.open("rb") as source, beside.open("xb") as copy:
            total = os.fstat(source.fileno()).st_size
            while block := source.read(1 << 22):
                copy.write(block)
                progress(copy.tell(), total)
        put_in_place(beside, target)
    except OSError as error:
        raise StoreError(f"the database's file cannot be written: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)


def _dump_server(
    connection: Connection, url: URL, file: Path, progress: Progress, without: Collection[str]
) -> None:
    snapshot = str(connection.execute(text("SELECT pg_export_snapshot()")).scalar_one())
    size = int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
    left_out = [f"--exclude-table-data={table}" for table in without]
    arguments = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", *left_out]
    with _client("pg_dump", url, [*arguments, f"--file={file}"]) as turns:
        for _ in turns:
            progress(file.stat().st_size if file.exists() else 0, max(size, 1))


def _restore_server(url: URL, file: Path, progress: Progress) -> None:
    arguments = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", str(file)]
    with _client("pg_restore", url, arguments) as turns:
        for _ in turns:
            progress(0, 0)


@contextmanager
def _client(program: str, url: URL, arguments: list[str]) -> Iterator[Iterator[None]]:
    """Run one of PostgreSQL's programs; the block is given an iterator that turns until it has ended.

    The password goes through the environment, which other users cannot read as they can the command line.
    """
    path = shutil.which(program)
    if path is None:
        raise ConfigurationError(
            f"{program} is not installed; install PostgreSQL's client programs "
            "(Debian: apt-get install postgresql-client), of the server's version or newer"
        )
    place = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    environment = dict(os.environ)
    if url.password is not None:
        environment["PGPASSWORD"] = str(url.password)
    option = [] if program == "pg_dump" else ["--dbname"]
    command = [path, *option, place, *arguments]
    process = subprocess.Popen(  # noqa: S603  # a program found by its name, with our arguments
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        yield _turns(process)
    finally:
        process.kill()
        _, said = process.communicate()
    if process.returncode:
        raise StoreError(f"{program} failed with status {process.returncode}: {_reason(said)}")


def _turns(process: subprocess.Popen[bytes]) -> Iterator[None]:
    while process.poll() is None:
        try:
            process.wait(_WATCH_SECONDS)
        except subprocess.TimeoutExpired:
            yield


def _reason(said: bytes) -> str:
    """Return the program's first line, which names objects and limits; later ones may hold values."""
    lines = said.decode(errors="replace").splitlines()
    return lines[0][:200] if lines else "it said nothing"
