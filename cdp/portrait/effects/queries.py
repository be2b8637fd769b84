"""How much is known of some identities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Connection, func, select

from cdp.ingest.tables import events
from cdp.profiles.tables import trait_observations
from cdp.store import among, chunks


def facts_of(
    connection: Connection, identity_nos: Iterable[int]
) -> tuple[dict[int, int], dict[int, set[str]]]:
    """Return identity_no → how many events are its own, and → the names of its traits."""
    counts: dict[int, int] = {}
    names: dict[int, set[str]] = defaultdict(set)
    e, o = events.c, trait_observations.c
    for chunk in chunks(identity_nos):
        query = select(e.identity_no, func.count()).where(among(e.identity_no, chunk))
        counts.update(
            (int(no), int(count)) for no, count in connection.execute(query.group_by(e.identity_no))
        )
        told = select(o.identity_no, o.name).where(among(o.identity_no, chunk)).distinct()
        for no, name in connection.execute(told):
            names[int(no)].add(name)
    return counts, names
