"""Exports and deliveries of before the names were kept get them from the stored definitions."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

from alembic import command
from sqlalchemy import Connection, LargeBinary, MetaData, Table, insert, select

from cdp.gate.tables import deliveries, exports
from cdp.store import Store, migrate

OUTER: dict[str, Any] = {
    "all": [
        {"not": {"segment": "nested"}},
        {"segment": "round"},
        {"event": "Order", "where": [{"property": "revenue", "op": "gt", "value": 1}]},
        {"event": "Home", "type": "page", "distinct": {"property": "context.page.path", "gte": 2}},
        {"list": "vips"},
        {"sample": 0.5},
    ]
}
READ = ["event:Order", "event:page", "list:vips", "property:context.page.path", "property:revenue"]


def add(connection: Connection, table_name: str, **given: Any) -> None:
    """Add a row to a table as it was then, with something in every column that must hold something."""
    table = Table(table_name, MetaData(), autoload_with=connection)
    empty = {
        column.name: b""
        if isinstance(column.type, LargeBinary)
        else 0
        if column.type.python_type is int
        else "[]"
        for column in table.c
        if not column.nullable and column.server_default is None
    }
    connection.execute(insert(table).values({**empty, **given}))


def segment(
    connection: Connection, name: str, version: int, batch: int, where: dict[str, Any] | None
) -> None:
    text = None if where is None else json.dumps({"name": name, "where": where})
    add(connection, "segments", name=name, version=version, batch=batch, definition=text)


def trait(name: str) -> dict[str, Any]:
    return {"trait": name, "op": "exists"}


def export(connection: Connection, name: str, version: int, audience: str, *, fetched: bool = True) -> None:
    """Add one whose people were evaluated at commit 40 and decided about at 60."""
    add(
        connection,
        "exports",
        export_id=name,
        batch=int(name[2:]),
        segment=audience,
        segment_version=version,
        segment_as_of=40,
        ledger_position=60,
        destination="mailer",
        purpose="p",
    )
    if fetched:
        add(connection, "export_fetches", fetch_no=int(name[2:]), export_id=name)


def test_what_people_were_chosen_by_is_named(database_url: str) -> None:
    with closing(Store(database_url)) as store:
        with store.writing() as connection, connection.begin():
            config = migrate._config(migrate.Chain.MAIN)
            config.attributes["connection"] = connection
            command.upgrade(config, "0002")
            for number in range(1, 9):
                add(connection, "batches", commit_no=10 * number, batch=number)
            segment(connection, "outer", 1, 1, OUTER)
            segment(connection, "outer", 2, 8, trait("later"))
            for version, batch in enumerate((1, 3, 5, 7), 1):  # before, in force at 40, meanwhile, after
                segment(connection, "nested", version, batch, trait(f"nested{version}"))
            segment(connection, "round", 1, 1, {"any": [trait("plan"), {"segment": "round"}]})
            segment(connection, "nested", 5, 8, None)
            export(connection, "e_1", 1, "outer")
            export(connection, "e_2", 2, "outer", fetched=False)
            export(connection, "e_3", 9, "lost")
            for number, audience in enumerate(("outer", "lost", "fed"), 1):
                inputs = '["user"]' if audience != "fed" else "[]"
                key = {"destination": "mailer", "purpose": "p", "segment": audience}
                add(connection, "deliveries", audience_no=number, inputs=inputs, **key)
        migrate.upgrade(store)
        with store.reading() as connection:
            read = select(exports.c.export_id, exports.c.reads)
            named = {row[0]: json.loads(row[1]) for row in connection.execute(read)}
            held = select(deliveries.c.segment, deliveries.c.reads)
            audiences = {row[0]: json.loads(row[1]) for row in connection.execute(held)}
    first = [*READ, "trait:nested2", "trait:nested3", "trait:plan"]
    assert named == {"e_1": first, "e_2": ["trait:later"], "e_3": ["unsaid"]}
    assert audiences == {"outer": first, "lost": ["unsaid"], "fed": []}
