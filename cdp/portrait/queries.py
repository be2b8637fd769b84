"""Reads across the stages that no single stage answers."""

from __future__ import annotations

from pyroaring import BitMap
from sqlalchemy import Connection, func, select

from cdp.identity.tables import profile_members
from cdp.segments.tables import segment_members


def evaluations(connection: Connection) -> dict[str, BitMap]:
    """Return segment name → profile numbers of its newest evaluation."""
    newest = (
        select(segment_members.c.name, func.max(segment_members.c.version).label("version"))
        .group_by(segment_members.c.name)
        .subquery()
    )
    query = (
        select(segment_members.c.name, segment_members.c.members)
        .join(
            newest,
            (segment_members.c.name == newest.c.name) & (segment_members.c.version == newest.c.version),
        )
        .order_by(segment_members.c.name)
    )
    return {row.name: BitMap.deserialize(row.members) for row in connection.execute(query)}


def count_profiles(connection: Connection) -> int:
    """Return how many profiles there are."""
    query = select(func.count(profile_members.c.profile_no.distinct()))
    return int(connection.execute(query).scalar_one())
