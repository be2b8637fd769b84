"""Many rows written at once, each database in the fastest way that it has.

SQLite: statements of many rows each, of a few sizes; PostgreSQL: one array a column, or binary COPY. Rows
that others may write too are given sorted by key: two writers that meet wait for each other in one order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, CursorResult, Table
from sqlalchemy.dialects import postgresql, sqlite

from cdp.store.dialect import rows_of

Row = Sequence[Any]
_FEW = 400  # rows for which COPY's round trips cost more than they save
_ROWS = 512  # rows of one statement, halved for the rest of them: below SQLite's limit of parameters


def insert_many(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert ``rows`` (tuples in the order of ``columns``) the fastest way the driver has.

    SQLite: statements of many rows each; PostgreSQL: binary COPY, or one statement for a few.
    """
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        _sqlite_insert(connection, table, columns, rows)
        return
    if len(rows) <= _FEW:
        statement, given = _from_arrays(connection, table, columns, rows)
        connection.exec_driver_sql(statement, given)
        return
    cursor = connection.connection.cursor()
    statement = f"COPY {table.name} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    with cursor.copy(statement) as copy:
        copy.set_types([_postgres_type(connection, table, name) for name in columns])
        for row in rows:
            copy.write_row(row)


def _sqlite_insert(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Row], end: str = ""
) -> list[CursorResult[Any]]:
    """Insert rows, many in one statement: ``executemany`` gives up the interpreter at each row.

    A thread that computes meanwhile does not give it back for milliseconds.
    """
    given = f"INSERT INTO {table.name} ({', '.join(columns)})"  # names are ours
    marks = f"({', '.join('?' * len(columns))})"
    results = []
    for part in _parts(rows):
        flat = tuple(chain.from_iterable(part))
        statement = f"{given} VALUES {_repeated(marks, len(part))} {end}"
        results.append(connection.exec_driver_sql(statement, flat))
    return results


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut rows into parts of a few sizes, so that their statements are compiled once."""
    at, size = 0, _ROWS
    while at < len(rows):
        while size > len(rows) - at:
            size //= 2
        yield rows[at : at + size]
        at += size


@lru_cache(maxsize=256)
def _repeated(marks: str, count: int) -> str:
    return ", ".join([marks] * count)


def insert_new(
    connection: Connection,
    table: Table,
    columns: Sequence[str],
    rows: Sequence[Row],
    returning: Sequence[str],
) -> list[tuple[Any, ...]]:
    """Insert the ``rows`` that do not conflict and return ``returning`` of those that went in.

    Give the rows sorted by key: two writers that meet then wait for each other in one order.
    """
    if not rows:
        return []
    end = f"ON CONFLICT DO NOTHING RETURNING {', '.join(returning)}"
    if connection.dialect.name == "postgresql":
        statement, given = _from_arrays(connection, table, columns, rows)
        return rows_of(connection.exec_driver_sql(f"{statement} {end}", given))
    results = _sqlite_insert(connection, table, columns, rows, end)
    return [row for result in results for row in rows_of(result)]


def insert_ignoring(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> int:
    """Insert the ``rows`` that do not conflict, given sorted by key; returns how many went in."""
    if not rows:
        return 0
    end = "ON CONFLICT DO NOTHING"
    if connection.dialect.name == "postgresql":
        statement, given = _from_arrays(connection, table, columns, rows)
        return connection.exec_driver_sql(f"{statement} {end}", given).rowcount
    return sum(result.rowcount for result in _sqlite_insert(connection, table, columns, rows, end))


def update_many(
    connection: Connection, table: Table, keys: Sequence[str], columns: Sequence[str], rows: Sequence[Row]
) -> int:
    """Write ``columns`` of the rows that have these ``keys``; returns how many there were.

    :param rows: tuples of the keys' values and then the columns' new ones, sorted by key.
    """
    if not rows:
        return 0
    changes = ", ".join(f"{name} = given.column{at}" for at, name in enumerate(columns, len(keys) + 1))
    found = " AND ".join(f"{table.name}.{name} = given.column{at}" for at, name in enumerate(keys, 1))
    update = f"UPDATE {table.name} SET {changes} FROM"  # noqa: S608  # names are ours
    names = [*keys, *columns]
    if connection.dialect.name == "postgresql":
        arrays = ", ".join(f"%b::{_postgres_type(connection, table, name)}[]" for name in names)
        given = ", ".join(f"column{at}" for at in range(1, len(names) + 1))
        values: tuple[Any, ...] = tuple(list(column) for column in zip(*rows, strict=True))
        if isinstance(rows[0][0], int):  # without it a table that was never analysed is read whole, each time
            found += f" AND {table.name}.{keys[0]} BETWEEN %b AND %b"
            values += (min(values[0]), max(values[0]))
        return connection.exec_driver_sql(
            f"{update} unnest({arrays}) AS given({given}) WHERE {found}", values
        ).rowcount
    changed = 0
    row_marks = f"({', '.join('?' * len(names))})"
    for part in _parts(rows):  # not `executemany`, as above
        flat = tuple(chain.from_iterable(part))
        statement = f"{update} (VALUES {_repeated(row_marks, len(part))}) AS given WHERE {found}"
        changed += connection.exec_driver_sql(statement, flat).rowcount
    return changed


def _from_arrays(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Row]
) -> tuple[str, tuple[list[Any], ...]]:
    """Return PostgreSQL's insert with one array a column: the same text however many rows it brings."""
    arrays = ", ".join(f"%b::{_postgres_type(connection, table, name)}[]" for name in columns)
    statement = f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM unnest({arrays})"  # noqa: S608  # names are ours
    return statement, tuple(list(column) for column in zip(*rows, strict=True))


def _postgres_type(connection: Connection, table: Table, column: str) -> str:
    return table.c[column].type.compile(connection.dialect).lower()


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[dict[str, Any]],
    keys: Sequence[str],
    where: ColumnElement[bool] | None = None,
) -> None:
    """Insert ``rows``; where the ``keys`` exist already, overwrite the other columns.

    :param where: what a row that exists has to be like to be overwritten; else it is left as it is.
    """
    if not rows:
        return
    insert = sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
    others = {name: insert.excluded[name] for name in rows[0] if name not in keys}
    if others:
        statement = insert.on_conflict_do_update(index_elements=list(keys), set_=others, where=where)
    else:
        statement = insert.on_conflict_do_nothing(index_elements=list(keys))
    connection.execute(statement, list(rows))
