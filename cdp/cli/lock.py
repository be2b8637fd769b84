"""The data directory's lock: who holds it is the one process that writes SQLite.

``cdp serve`` holds it as long as it runs and says in ``server.json`` where it listens; any other
command holds it for a moment, or finds it held and asks the server. The operating system frees it
when its holder dies, so a ``server.json`` without a held lock is left over and means nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cdp.errors import ConflictError

LOCK_FILE = "lock"
SERVER_FILE = "server.json"


class ServerAddress(msgspec.Struct, frozen=True):
    """Where a running server listens."""

    url: str
    pid: int


@contextmanager
def data_lock(data_dir: Path) -> Iterator[bool]:
    """Try to take the lock; yields whether we hold it, and frees it afterwards."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data_dir / LOCK_FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        (data_dir / SERVER_FILE).unlink(missing_ok=True)  # left over by a server that died
        yield True  # closing the file frees the lock


@contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """Hold the lock while the block runs.

    :raises ConflictError: somebody else holds it.
    """
    with data_lock(data_dir) as held:
        if not held:
            server = running_server(data_dir)
            who = f"a server at {server.url}" if server else "another cdp command"
            raise ConflictError(f"{who} is at work in {data_dir}; end it first")
        yield


@contextmanager
def announced(data_dir: Path, url: str) -> Iterator[None]:
    """Say where the server listens while the block runs; the lock must be held."""
    path = data_dir / SERVER_FILE
    path.write_bytes(msgspec.json.encode(ServerAddress(url, os.getpid())))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def running_server(data_dir: Path) -> ServerAddress | None:
    """Return where the holder of the lock listens; None when it is no server."""
    try:
        return msgspec.json.decode((data_dir / SERVER_FILE).read_bytes(), type=ServerAddress)
    except (OSError, msgspec.DecodeError):
        return None
