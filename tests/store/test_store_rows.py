"""Rows go in and come out as they are, whichever way the driver takes them, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Column, Connection, MetaData, Table, select, text

from cdp.store import (
    Bytes,
    Flag,
    Name,
    Number,
    Store,
    among,
    insert_ignoring,
    insert_many,
    insert_new,
    read_labelled,
    read_numbers,
    update_many,
)

COLUMNS = ("key", "number", "name", "raw", "flag")
things = Table(
    "things",
    MetaData(),
    Column("key", Number, primary_key=True, autoincrement=False),
    Column("number", Number),
    Column("name", Name),
    Column("raw", Bytes),
    Column("flag", Flag),
)
ODD = ('a "quoted" \\ {text}, NULL', "", "null", "%s %b", "naïve 名字")


def rows(count: int) -> list[tuple[Any, ...]]:
    """Return rows with every kind of value, missing ones included."""
    made: list[tuple[Any, ...]] = []
    for at in range(count):
        if at % 7 == 3:
            made.append((at, None, None, None, None))
        else:
            made.append(
                (at, (-1) ** at << (at % 63), ODD[at % len(ODD)], bytes([at % 256, 0, 92]), at % 2 == 0)
            )
    return made


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection to a database with an empty table."""
    with closing(Store(database_url)) as store, store.writing() as connection, connection.begin():
        things.create(connection)
        yield connection


def stored(connection: Connection) -> list[tuple[Any, ...]]:
    """Return all rows by key."""
    return [tuple(row) for row in connection.execute(select(things).order_by(things.c.key))]


@pytest.mark.parametrize("count", [0, 1, 5, 1500])  # nothing, few, and what goes through COPY
def test_many_rows_come_out_as_they_went_in(connection: Connection, count: int) -> None:
    insert_many(connection, things, COLUMNS, rows(count))
    assert stored(connection) == rows(count)


def test_only_what_is_new_goes_in(connection: Connection) -> None:
    insert_many(connection, things, COLUMNS, rows(10))
    taken = insert_new(connection, things, COLUMNS, rows(1000), ("key",))
    assert sorted(key for (key,) in taken) == list(range(10, 1000))
    assert insert_ignoring(connection, things, COLUMNS, rows(1002)) == 2
    assert stored(connection) == rows(1002)


def test_a_column_of_nothing_but_nulls(connection: Connection) -> None:
    empty = [(key, None, None, None, None) for key in range(3)]
    insert_many(connection, things, COLUMNS, empty)
    assert insert_ignoring(connection, things, COLUMNS, [(3, None, None, None, None)]) == 1
    assert update_many(connection, things, ("key",), ("number", "raw"), [(1, None, None)]) == 1
    assert stored(connection) == [*empty, (3, None, None, None, None)]


def test_many_updates_at_once(connection: Connection) -> None:
    insert_many(connection, things, COLUMNS, rows(900))
    changes = [(key, 2**40 + key, b"\x00new") for key in range(0, 1800, 2)]
    assert update_many(connection, things, ("key",), ("number", "raw"), changes) == 450
    changed = {row[0]: row for row in stored(connection)}
    assert changed[898][1:] == (2**40 + 898, *rows(899)[898][2:3], b"\x00new", *rows(899)[898][4:])
    assert changed[899] == rows(900)[899]


def test_an_update_reads_what_it_changes_and_not_the_whole_table(connection: Connection) -> None:
    """Also where a table grew since it was last analysed, as one of keys does."""
    insert_many(connection, things, COLUMNS, rows(40_000))
    changes = [(key, 1, None) for key in range(30_000, 31_000)]
    for _ in range(2):
        before = read(connection)
        assert update_many(connection, things, ("key",), ("number", "raw"), changes) == len(changes)
        assert read(connection) - before <= 4 * len(changes)


def read(connection: Connection) -> int:
    """Return how many rows of the table this transaction has read; SQLite keeps no such count."""
    if connection.dialect.name == "sqlite":
        return 0
    statistics = text(
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = :name"
    )
    return int(connection.execute(statistics, {"name": things.name}).scalar_one())


@pytest.mark.parametrize("numbers", [[], [3], [-1, 2**62, 5], list(range(3000))])
def test_a_look_up_of_any_size(connection: Connection, numbers: list[int]) -> None:
    insert_many(connection, things, COLUMNS, rows(50))
    there = [number for number in numbers if 0 <= number < 50]
    query = select(things.c.key).where(among(things.c.key, numbers))
    assert sorted(connection.execute(query).scalars()) == there
    assert sorted(read_numbers(connection, query).tolist()) == [[number] for number in there]
    assert read_numbers(connection, query).dtype == np.int64


@pytest.mark.parametrize("texts", [["a", "b", "a"], [], [""], ["a\x1fb", "c", "\x1f"], ["名字", "a,b", ""]])
def test_numbers_by_what_is_said_of_them(connection: Connection, texts: list[str]) -> None:
    given = [(at + 1, -at, text, None, at % 2 == 0) for at, text in enumerate(texts)]
    insert_many(connection, things, COLUMNS, given)
    found = read_labelled(connection, select(things.c.key, things.c.name))
    assert {label: list(numbers) for label, numbers in found.sets()} == {
        (text,): [at + 1 for at, other in enumerate(texts) if other == text] for text in texts
    }


def test_a_row_without_a_number_is_not_taken_for_another(connection: Connection) -> None:
    insert_many(connection, things, COLUMNS, rows(10))
    with pytest.raises(ValueError, match="shape"):
        read_numbers(connection, select(things.c.key, things.c.number))
