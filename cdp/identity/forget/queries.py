"""Deletions of identities."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, delete, select

from cdp.clock import Micros
from cdp.identity.tables import (
    identifier_index,
    identities,
    link_candidates,
    link_suppressions,
    links,
    profile_members,
)
from cdp.store import among, chunks, forget_rows, read_rows


def forget_links(connection: Connection, component: Collection[int], identity_nos: Collection[int]) -> None:
    """Delete whatever finds or links identities; their own rows stay.

    :param component: every identity that they were ever linked to.
    """
    for column in (
        identifier_index.c.identity_no,
        profile_members.c.identity_no,
        link_candidates.c.low,
        link_candidates.c.high,
        links.c.low,
        link_suppressions.c.low,
        link_suppressions.c.high,
    ):
        forget_rows(connection, column, identity_nos)
    for chunk in chunks(
        identity_nos
    ):  # ``high`` of a link has no index, and none that joins others is theirs
        connection.execute(delete(links).where(among(links.c.low, component), among(links.c.high, chunk)))


def forget_identities(connection: Connection, identity_nos: Iterable[int]) -> int:
    """Delete identities with their sealed values; returns how many."""
    return forget_rows(connection, identities.c.identity_no, identity_nos)


def created_at(connection: Connection, identity_nos: Iterable[int]) -> dict[int, Micros]:
    """Return identity_no → when it was made."""
    i = identities.c
    found: dict[int, Micros] = {}
    for chunk in chunks(identity_nos):
        query = select(i.identity_no, i.created_at).where(among(i.identity_no, chunk))
        found.update(read_rows(connection, query))
    return found
