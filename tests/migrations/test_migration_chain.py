"""One chain of migrations makes, on both databases, exactly the schema that the code declares."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

import cdp
from cdp.audit import initialise as initialise_audit
from cdp.errors import ConfigurationError
from cdp.recovery import initialise as initialise_recovery
from cdp.store import Store, initialise, metadata
from cdp.store.migrate import is_empty, pending, upgrade

for stage in sorted(Path(cdp.__file__).parent.glob("*/tables.py")):
    import_module(f"cdp.{stage.parent.name}.tables")


def as_declared(connection: Connection) -> None:
    """Make the schema from the tables themselves, as tests of single stages do."""
    metadata.create_all(connection)
    initialise(connection)
    initialise_audit(connection)
    initialise_recovery(connection)


def rows(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every declared table."""
    return {
        name: [tuple(row) for row in connection.execute(table.select())]
        for name, table in metadata.tables.items()
    }


def test_an_empty_database_lacks_every_revision_and_an_upgraded_one_none(database_url: str) -> None:
    store = Store(database_url)
    assert is_empty(store)
    missing = pending(store)
    assert missing[0] == "0001"
    assert upgrade(store) == missing
    assert pending(store) == []
    assert upgrade(store) == []
    assert not is_empty(store)
    store.close()


def test_the_chain_makes_what_the_code_declares(database_url: str) -> None:
    store = Store(database_url)
    upgrade(store)
    with store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    store.close()


def test_the_chain_inserts_the_rows_that_the_code_starts_from(tmp_path: Path) -> None:
    migrated, declared = (Store(f"sqlite:///{tmp_path / name}") for name in ("migrated", "declared"))
    upgrade(migrated)
    with declared.writing() as connection, connection.begin():
        as_declared(connection)
    with migrated.reading() as left, declared.reading() as right:
        assert rows(left) == rows(right)
        assert rows(left)["log_head"] == [(1, 0, 0, 0)]
    migrated.close()
    declared.close()


def test_sqlite_gets_the_very_statements(tmp_path: Path) -> None:
    """Also what Alembic's comparison overlooks: WITHOUT ROWID, the order of columns, constraint names."""
    migrated, declared = (Store(f"sqlite:///{tmp_path / name}") for name in ("migrated", "declared"))
    upgrade(migrated)
    with declared.writing() as connection, connection.begin():
        as_declared(connection)
    with migrated.reading() as left, declared.reading() as right:
        assert statements(left) == statements(right)
    migrated.close()
    declared.close()


def statements(connection: Connection) -> dict[str, tuple[str, list[str], str]]:
    """Return each object's CREATE statement: up to its constraints, these sorted, and what follows."""
    query = text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'alembic_version'")
    found = {}
    for name, sql in connection.execute(query):
        body, _, rest = re.sub(r"\s+", " ", sql).rpartition(")")
        columns, *constraints = body.split(", CONSTRAINT ")
        found[name] = (columns, sorted(part.strip() for part in constraints), rest)
    return found


def test_a_failing_upgrade_leaves_nothing_behind(database_url: str) -> None:
    store = Store(database_url)
    with store.writing() as connection, connection.begin():
        connection.execute(text("CREATE TABLE log_head (id INTEGER)"))
    with pytest.raises(Exception, match="log_head"):
        upgrade(store)
    with store.reading() as connection:
        assert inspect(connection).get_table_names() == ["log_head"]
    store.close()


def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    store = Store(database_url)
    upgrade(store)
    with store.writing() as connection, connection.begin():
        connection.execute(text("UPDATE alembic_version SET version_num = 'from-the-future'"))
    for verb in (pending, upgrade):
        with pytest.raises(ConfigurationError, match="newer version"):
            verb(store)
    store.close()
