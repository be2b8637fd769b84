"""Many rows written at once, each database in the fastest way that it has.

SQLite: one statement, prepared once and run for each row (one of many rows takes longer); PostgreSQL: one
array a column, or binary COPY. Rows that others may write too are given sorted by key: two writers that meet
wait for each other in one order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from cdp.store.dialect import rows_of

Row = Sequence[Any]
_UNLESS = "ON CONFLICT DO NOTHING"
_FEW = 400  # rows for which COPY's round trips cost more than they save


def insert_many(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert ``rows`` (tuples in the order of ``columns``) the fastest way the driver has."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_insert_one(table, columns), list(rows))
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


def _insert_one(table: Table, columns: Sequence[str]) -> str:
    """Return SQLite's insert of one row."""
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608  # names are ours


def insert_new(
    connection: Connection,
    table: Table,
    columns: Sequence[str],
    rows: Sequence[Row],
    returning: Sequence[str],
) -> list[tuple[Any, ...]]:
    """Insert the ``rows`` that do not conflict and return ``returning`` of those that went in.

    Give the rows sorted by key: two writers that meet then wait for each other in one order.

    :param returning: some of the ``columns``.
    """
    if not rows:
        return []
    if connection.dialect.name == "postgresql":
        statement, given = _from_arrays(connection, table, columns, rows)
        end = f"{_UNLESS} RETURNING {', '.join(returning)}"
        return rows_of(connection.exec_driver_sql(f"{statement} {end}", given))
    execute = connection.connection.cursor().execute
    one = f"{_insert_one(table, columns)} {_UNLESS}"
    new = [row for row in rows if execute(one, row).rowcount]  # its own RETURNING takes twice as long
    return list(zip(*([row[columns.index(name)] for row in new] for name in returning), strict=True))


def insert_ignoring(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> int:
    """Insert the ``rows`` that do not conflict, given sorted by key; returns how many went in."""
    if not rows:
        return 0
    if connection.dialect.name == "postgresql":
        statement, given = _from_arrays(connection, table, columns, rows)
        return connection.exec_driver_sql(f"{statement} {_UNLESS}", given).rowcount
    return connection.exec_driver_sql(f"{_insert_one(table, columns)} {_UNLESS}", list(rows)).rowcount


def update_many(
    connection: Connection, table: Table, keys: Sequence[str], columns: Sequence[str], rows: Sequence[Row]
) -> int:
    """Write ``columns`` of the rows that have these ``keys``; returns how many there were.

    :param rows: tuples of the keys' values and then the columns' new ones, sorted by key.
    """
    if not rows:
        return 0
    names = [*keys, *columns]
    given = "?" if (on_sqlite := connection.dialect.name == "sqlite") else "given.column"
    changes = ", ".join(f"{name} = {given}{at}" for at, name in enumerate(columns, len(keys) + 1))
    found = " AND ".join(f"{table.name}.{name} = {given}{at}" for at, name in enumerate(keys, 1))
    update = f"UPDATE {table.name} SET {changes}"  # noqa: S608  # names are ours
    if on_sqlite:
        return connection.exec_driver_sql(f"{update} WHERE {found}", list(rows)).rowcount
    arrays = ", ".join(f"%b::{_postgres_type(connection, table, name)}[]" for name in names)
    named = ", ".join(f"column{at}" for at in range(1, len(names) + 1))
    values: tuple[Any, ...] = tuple(list(column) for column in zip(*rows, strict=True))
    if isinstance(rows[0][0], int):  # without it a table that was never analysed is read whole, each time
        found += f" AND {table.name}.{keys[0]} BETWEEN %b AND %b"
        values += (min(values[0]), max(values[0]))
    return connection.exec_driver_sql(
        f"{update} FROM unnest({arrays}) AS given({named}) WHERE {found}", values
    ).rowcount


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
