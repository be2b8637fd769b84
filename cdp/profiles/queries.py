"""Reads and writes of trait observations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, select

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
