"""Reads and writes of trait observations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from cdp.identity.tables import profile_members
from cdp.profiles.model import Observation
from cdp.profiles.tables import trait_observations
from cdp.store import among, chunks, insert_many, read_rows

COLUMNS = (
    "batch", "seq", "identity_no", "name", "value", "sealed", "source_id", "observed_at", "event_id",
)  # fmt: skip


def add_observations(connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Insert observations (tuples in the order of ``COLUMNS``)."""
    insert_many(connection, trait_observations, COLUMNS, rows)


def observations(
    connection: Connection,
    profile_nos: Iterable[int],
    names: Collection[str] | None,
) -> Iterator[Observation]:
    """Yield what was observed of these profiles; only the traits in ``names`` when given."""
    o, m = trait_observations.c, profile_members.c
    columns = [o[name] for name in Observation._fields[1:]]
    for chunk in chunks(profile_nos):
        query = select(m.profile_no, *columns).join_from(
            profile_members, trait_observations, m.identity_no == o.identity_no
        )
        query = query.where(among(m.profile_no, chunk))
        if names is not None:
            query = query.where(o.name.in_(names))
        yield from map(Observation._make, read_rows(connection, query))


def disputed(connection: Connection, names: Collection[str], limit: int, after: int) -> list[int]:
    """Return up to ``limit`` profiles above ``after`` of which several sources say several things of a trait.

    :param names: the traits, all clear: what is compared is JSON text, whenever it was said.
    """
    o, m = trait_observations.c, profile_members.c
    several = (
        select(m.profile_no)
        .join_from(profile_members, trait_observations, m.identity_no == o.identity_no)
        .where(m.profile_no > after, o.name.in_(names), o.value.is_not(None))
        .group_by(m.profile_no, o.name)
        .having(func.count(o.source_id.distinct()) > 1, func.count(o.value.distinct()) > 1)
        .subquery()
    )
    query = select(several.c.profile_no).distinct().order_by(several.c.profile_no).limit(limit)
    return [int(row[0]) for row in connection.execute(query)]


def of_identities(
    connection: Connection, identity_nos: Iterable[int], names: Collection[str]
) -> Iterator[Observation]:
    """Yield what was observed of these identities, each standing for a profile of its own."""
    o = trait_observations.c
    columns = [o[name] for name in Observation._fields[1:]]
    for chunk in chunks(identity_nos):
        query = select(o.identity_no.label("profile_no"), *columns)
        query = query.where(among(o.identity_no, chunk), o.name.in_(names))
        yield from map(Observation._make, read_rows(connection, query))


def carriers(connection: Connection, names: Collection[str]) -> list[int]:
    """Return the identities of which one of these traits was ever observed, ascending."""
    o = trait_observations.c
    query = select(o.identity_no).where(o.name.in_(names)).distinct().order_by(o.identity_no)
    return [int(row[0]) for row in read_rows(connection, query)]
