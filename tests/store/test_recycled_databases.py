"""A database that tests use again is as its template made it, and nobody of an earlier test has it open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from databases import postgres_database
from recycled import Recycled
from sqlalchemy.engine import make_url

ROWS = [(1, "made"), (2, None)]


@pytest.fixture
def template(postgres_server: str) -> Iterator[str]:
    """The URL of a template with a row in one table, and none in the other."""
    with postgres_database(postgres_server, "cdp_recycled") as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE held (key integer PRIMARY KEY, word text)")
            connection.execute("CREATE TABLE empty (key integer PRIMARY KEY, word text)")
            connection.execute("INSERT INTO held VALUES (1, 'made'), (2, NULL)")
        yield url


@pytest.fixture
def recycled() -> Iterator[Recycled]:
    """Databases of this test alone."""
    databases = Recycled()
    yield databases
    databases.drop()


def used(recycled: Recycled, template: str, *statements: str) -> tuple[str, int]:
    """Use a database once; returns its URL and the number by which the server knows it."""
    with recycled.database(template, "cdp_recycled") as url:
        recycled.fill(make_url(template).database or "", url)
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT * FROM held ORDER BY key").fetchall() == ROWS
            assert connection.execute("SELECT * FROM empty").fetchall() == []
            number = connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
            found = number.fetchone()
            for statement in statements:
                connection.execute(statement)
    assert found is not None
    return url, found[0]


def test_rows_are_as_the_template_made_them(recycled: Recycled, template: str) -> None:
    changes = (
        "INSERT INTO empty VALUES (7, 'left')",
        "UPDATE held SET word = 'changed' WHERE key = 1",
        "DELETE FROM held WHERE key = 2",
    )
    _, first = used(recycled, template, *changes)
    _, second = used(recycled, template)
    assert first == second, "it is used again"


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE more (key integer)",
        "DROP TABLE empty",
        "ALTER TABLE empty ADD COLUMN more text",
        "ALTER TABLE empty ALTER COLUMN word SET NOT NULL",
        "ALTER TABLE empty RENAME TO other",
        "CREATE INDEX more ON held (word)",
        "CREATE SEQUENCE more",
        "CREATE FUNCTION more() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET jit = off'; END $$",
    ],
)
def test_one_that_is_changed_otherwise_is_not_used_again(
    recycled: Recycled, template: str, change: str
) -> None:
    _, first = used(recycled, template, change)
    _, second = used(recycled, template)
    assert first != second


def test_whoever_still_has_it_open_is_cut_off_and_finds_it_no_more(recycled: Recycled, template: str) -> None:
    with recycled.database(template, "cdp_recycled") as url:
        recycled.fill(make_url(template).database or "", url)
        left = psycopg.connect(url)
    with closing(left), pytest.raises(psycopg.OperationalError):
        left.execute("INSERT INTO empty VALUES (7, 'late')")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)
    used(recycled, template)
