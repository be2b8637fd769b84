"""Reads and writes of trait observations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, select

from cdp.identity.tables import profile_members
from cdp.profiles.model import Observation
from cdp.profiles.tables import trait_observations
from cdp.store import among, chunks, insert_many

COLUMNS = (
    "batch", "seq", "identity_no", "name", "value", "sealed", "source_id", "observed_at", "event_id",
)  # fmt: skip


def add_observations(connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Insert observations (tuples in the order of ``COLUMNS``)."""
    insert_many(connection, trait_observations, COLUMNS, rows)


def observations(
    connection: Connection, profile_nos: Iterable[int], names: Collection[str] | None
) -> Iterator[tuple[int, Observation]]:
    """Yield (profile_no, observation) for these profiles; only the traits in ``names`` when given."""
    o = trait_observations.c
    for chunk in chunks(profile_nos):
        query = select(
            profile_members.c.profile_no,
            o.identity_no, o.name, o.value, o.sealed, o.source_id, o.observed_at, o.event_id,
        ).join_from(
            profile_members, trait_observations, profile_members.c.identity_no == o.identity_no
        ).where(among(profile_members.c.profile_no, chunk))  # fmt: skip
        if names is not None:
            query = query.where(o.name.in_(names))
        for row in connection.execute(query):
            profile_no, number, name, value, sealed, source_id, observed_at, event_id = row
            yield (
                profile_no,
                Observation(
                    identity_no=number,
                    name=name,
                    value=None if value is None else value.encode(),
                    sealed=sealed,
                    source_id=source_id,
                    observed_at=observed_at,
                    event_id=event_id,
                ),
            )
