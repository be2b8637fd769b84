"""Reads and writes of imports."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select, update

from cdp.clock import Micros
from cdp.ingest.imports.tables import imports
from cdp.store import insert_ignoring

COLUMNS = ("import_no", "source_id", "file", "key", "form", "mapping", "started_at")


def add(connection: Connection, row: tuple[Any, ...]) -> bool:
    """Insert an import (in the order of ``COLUMNS``) that is not there; returns whether it was not."""
    return insert_ignoring(connection, imports, COLUMNS, [row]) == 1


def by_number(connection: Connection, import_no: int) -> Row[Any] | None:
    """Return an import."""
    return connection.execute(select(imports).where(imports.c.import_no == import_no)).one_or_none()


def by_key(connection: Connection, source_id: int, file: str, key: str) -> Row[Any] | None:
    """Return the import of a file by a source, form and mapping."""
    i = imports.c
    query = select(imports).where(i.source_id == source_id, i.file == file, i.key == key)
    return connection.execute(query).one_or_none()


def broken_off(connection: Connection, source_id: int, file: str, key: str) -> Row[Any] | None:
    """Return an import of another file, by the same source and mapping, that began and has not ended."""
    i = imports.c
    query = select(imports).where(
        i.source_id == source_id, i.file != file, i.key == key, i.finished_at.is_(None), i.row_count > 0
    )
    return connection.execute(query.order_by(i.import_no.desc()).limit(1)).one_or_none()


def listed(connection: Connection, limit: int, before: int | None) -> list[Row[Any]]:
    """Return imports, the newest first, those numbered below ``before``."""
    query = select(imports).order_by(imports.c.import_no.desc()).limit(limit)
    if before is not None:
        query = query.where(imports.c.import_no < before)
    return list(connection.execute(query))


def change(connection: Connection, import_no: int, expected: int, **values: Any) -> bool:
    """Change an import that stands at row ``expected``; returns whether it stood there."""
    i = imports.c
    query = update(imports).where(i.import_no == import_no, i.at_row == expected).values(**values)
    return connection.execute(query).rowcount == 1


def finish(connection: Connection, import_no: int, now: Micros) -> None:
    """Mark an import as ended."""
    connection.execute(update(imports).where(imports.c.import_no == import_no).values(finished_at=now))


def correct(connection: Connection, import_no: int, mapping: str) -> None:
    """Store the mapping by which an import's rows in quarantine are read."""
    connection.execute(update(imports).where(imports.c.import_no == import_no).values(corrected=mapping))
