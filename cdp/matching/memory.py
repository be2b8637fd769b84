"""A DuckDB that has nothing but memory.

Invariants: clear values lie only in the memory of one connection, which has no temporary directory and so
fails rather than spill to disk, may reach no file and no network, and is closed at the end; nothing that
Splink would log (it logs what it executes) is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

from cdp.matching.model import MatchSettings

_LOGGER = "splink"


@contextmanager
def in_memory(settings: MatchSettings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB that has nothing but memory, and drop it all at the end."""
    connection = duckdb.connect(":memory:", config={"threads": settings.threads})
    run(connection, "SET temp_directory = ''")
    run(connection, f"SET memory_limit = '{settings.memory}MiB'")
    for name in (
        "enable_progress_bar",
        "autoinstall_known_extensions",
        "autoload_known_extensions",
        "enable_external_access",
    ):
        run(connection, f"SET {name} = false")
    run(connection, "SET lock_configuration = true")
    log = logging.getLogger(_LOGGER)
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield connection
    finally:
        log.setLevel(before)
        connection.close()


def run(connection: duckdb.DuckDBPyConnection, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement to its end and return its rows."""
    return connection.execute(statement).fetchall()
