"""Reads and writes of trait observations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from cdp.identity.tables import profile_members
from cdp.profiles.model import Observation
from cdp.profiles.tables import trait_observations
from cdp.store import among, chunks, forget_rows, insert_many, read_rows

COLUMNS = (
    "batch", "seq", "identity_no", "name", "value", "sealed", "source_id", "observed_at", "event_id",
)  # fmt: skip
_PAGE = 5_000
_PAGES = 10
"""Profiles of a page, and pages that are looked through at a time for those that sources dispute."""


def forget_observations(connection: Connection, identity_nos: Iterable[int]) -> int:
    """Delete every observation of identities; returns how many."""
    return forget_rows(connection, trait_observations.c.identity_no, identity_nos)


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


def disputed(
    connection: Connection, names: Collection[str], limit: int, after: int
) -> tuple[list[int], int | None]:
    """Return up to ``limit`` profiles above ``after`` of which several sources say several things of a trait.

    :param names: the traits, all clear: what is compared is JSON text, whenever it was said.
    :return: and up to which profile was looked, as only so many are at a time; None where up to the last.
    """
    m = profile_members.c
    found: list[int] = []
    for _ in range(_PAGES):
        page = select(m.profile_no).where(m.profile_no > after).distinct().order_by(m.profile_no)
        last = connection.execute(select(func.max(page.limit(_PAGE).subquery().c.profile_no))).scalar_one()
        if last is None:
            return found, None
        found += _disputed(connection, names, after, last)
        if len(found) >= limit:
            return found[:limit], found[limit - 1]
        after = last
    return found, after


def _disputed(connection: Connection, names: Collection[str], after: int, upto: int) -> list[int]:
    o, m = trait_observations.c, profile_members.c
    several = (
        select(m.profile_no)
        .join_from(profile_members, trait_observations, m.identity_no == o.identity_no)
        .where(m.profile_no > after, m.profile_no <= upto, o.name.in_(names), o.value.is_not(None))
        .group_by(m.profile_no, o.name)
        .having(func.count(o.source_id.distinct()) > 1, func.count(o.value.distinct()) > 1)
        .subquery()
    )
    query = select(several.c.profile_no).distinct().order_by(several.c.profile_no)
    return [int(row[0]) for row in connection.execute(query)]


def of_identities(
    connection: Connection, identity_nos: Iterable[int], names: Collection[str] | None = None
) -> Iterator[Observation]:
    """Yield what was observed of these identities, each standing for a profile of its own.

    :param names: only these traits; all when None.
    """
    o = trait_observations.c
    columns = [o[name] for name in Observation._fields[1:]]
    for chunk in chunks(identity_nos):
        query = select(o.identity_no.label("profile_no"), *columns)
        query = query.where(among(o.identity_no, chunk))
        if names is not None:
            query = query.where(o.name.in_(names))
        yield from map(Observation._make, read_rows(connection, query))


def carriers(connection: Connection, names: Collection[str]) -> list[int]:
    """Return the identities of which one of these traits was ever observed, ascending."""
    o = trait_observations.c
    query = select(o.identity_no).where(o.name.in_(names)).distinct().order_by(o.identity_no)
    return [int(row[0]) for row in read_rows(connection, query)]
