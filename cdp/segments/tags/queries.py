"""Reads and writes of tags and their thresholds."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, func, insert, select

from cdp.segments.queries import Stored, add_version, newest, versions
from cdp.segments.queries import every_version as versions_of
from cdp.segments.tables import tag_thresholds, tags
from cdp.segments.tags.model import Thresholds


class Held(NamedTuple):
    """A stored tag with the thresholds found for it."""

    stored: Stored
    thresholds: Thresholds | None


def held(connection: Connection, name: str | None = None) -> dict[str, Held]:
    """Return the newest version of every tag, or of one, by name; deleted ones included."""
    known = _thresholds(connection, name)
    found = newest(connection, name, table=tags).items()
    return {key: Held(stored, known.get((key, stored.version))) for key, stored in found}


def every_version(connection: Connection, name: str) -> list[Stored]:
    """Return every version of a tag, in their order."""
    return versions_of(connection, name, table=tags)


def state(connection: Connection) -> tuple[dict[str, int], int]:
    """Return what changes whenever a tag does: the newest versions, and the last rebuild."""
    last = connection.execute(select(func.max(tag_thresholds.c.batch))).scalar()
    return versions(connection, table=tags), last or 0


def add(connection: Connection, stored: Stored, batch: int) -> None:
    """Append a version."""
    add_version(connection, stored, batch, table=tags)


def add_thresholds(connection: Connection, name: str, found: Thresholds, batch: int) -> None:
    """Append the thresholds of a tag; the ones before stay on record."""
    connection.execute(
        insert(tag_thresholds).values(
            batch=batch,
            name=name,
            version=found.version,
            thresholds=msgspec.json.encode(found.values).decode(),
            people=found.people,
            as_of=found.as_of,
            computed_at=found.computed_at,
        )
    )


def _thresholds(connection: Connection, name: str | None) -> dict[tuple[str, int], Thresholds]:
    c = tag_thresholds.c
    query = select(tag_thresholds).order_by(c.batch)
    if name is not None:
        query = query.where(c.name == name)
    return {
        (row.name, row.version): Thresholds(
            version=row.version,
            values=msgspec.json.decode(row.thresholds, type=tuple[float, ...]),
            people=row.people,
            as_of=row.as_of,
            computed_at=row.computed_at,
        )
        for row in connection.execute(query)
    }
