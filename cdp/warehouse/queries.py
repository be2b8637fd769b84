"""What the mirror reads from the store; sealed columns are never selected."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Select, literal, or_, select, true

from cdp.clock import Micros
from cdp.identity.tables import profile_members
from cdp.ingest.tables import events
from cdp.profiles.tables import trait_observations
from cdp.store import among, batches, chunks, read_rows, since

Columns = Sequence[Sequence[Any]]
_PAGE = 50_000


def batch_of(connection: Connection, commit_no: int) -> int:
    """Return the batch id of a commit, 0 when there is no such commit."""
    found = connection.execute(select(batches.c.batch).where(batches.c.commit_no == commit_no)).scalar()
    return 0 if found is None else int(found)


def read_events(connection: Connection, after: int, upto: int) -> Generator[Columns]:
    """Yield pages of events of the commits in (after, upto], column by column, in commit order.

    Columns: commit_no, identity_no, type, name, occurred_at, received_at, source_id, properties.
    """
    query = (
        select(
            batches.c.commit_no,
            events.c.identity_no,
            events.c.type,
            events.c.name,
            events.c.occurred_at,
            events.c.received_at,
            events.c.source_id,
            events.c.properties,
        )
        .join_from(batches, events, events.c.batch == batches.c.batch)
        .where(batches.c.commit_no > after, batches.c.commit_no <= upto)
        .order_by(batches.c.commit_no, events.c.seq)
    )
    return _pages(connection, query)


def read_traits(connection: Connection, names: Iterable[str], after: int, upto: int) -> Generator[Columns]:
    """Yield pages of observations of the traits ``names`` in the commits (after, upto].

    Columns: identity_no, name, observed_at, source_id, event_id, value.
    """
    t = trait_observations
    query = (
        select(t.c.identity_no, t.c.name, t.c.observed_at, t.c.source_id, t.c.event_id, t.c.value)
        .join_from(batches, t, t.c.batch == batches.c.batch)
        .where(batches.c.commit_no > after, batches.c.commit_no <= upto, t.c.name.in_(sorted(names)))
        .order_by(batches.c.commit_no, t.c.seq)
    )
    return _pages(connection, query)


def read_members(connection: Connection, after: int, upto: int) -> Generator[Columns]:
    """Yield pages of the identity→profile rows whose last change is of the commits (after, upto].

    Columns: identity_no, profile_no, commit_no.
    """
    query = (
        select(profile_members.c.identity_no, profile_members.c.profile_no, batches.c.commit_no)
        .join_from(batches, profile_members, profile_members.c.batch == batches.c.batch)
        .where(batches.c.commit_no > after, batches.c.commit_no <= upto)
    )
    return _pages(connection, query)


def read_events_of(
    connection: Connection,
    identity_nos: Sequence[int],
    names: Iterable[str] | None,
    start: Micros | None = None,
) -> Iterator[Columns]:
    """Yield the events of some identities, columns as those of ``read_events``; their commit is not told.

    :param names: of the events; all unless given.
    :param start: only those that did not occur before it.
    """
    e = events.c
    named = true() if names is None else e.name.in_(sorted(names))
    wanted = named if start is None else named & (e.occurred_at >= start)
    for chunk in chunks(identity_nos):
        query = select(
            literal(0), e.identity_no, e.type, e.name, e.occurred_at, e.received_at, e.source_id, e.properties
        ).where(among(e.identity_no, chunk), wanted)
        yield from _columns(connection, query)


def read_traits_of(
    connection: Connection, identity_nos: Sequence[int], names: Iterable[str]
) -> Iterator[Columns]:
    """Yield some identities' observations of the traits ``names``, columns as those of ``read_traits``."""
    t = trait_observations.c
    for chunk in chunks(identity_nos):
        query = select(t.identity_no, t.name, t.observed_at, t.source_id, t.event_id, t.value).where(
            among(t.identity_no, chunk), t.name.in_(sorted(names))
        )
        yield from _columns(connection, query)


def members_of(connection: Connection, profile_nos: Iterable[int]) -> list[tuple[int, int]]:
    """Return (identity_no, profile_no) of every identity of some profiles."""
    m = profile_members.c
    return [
        (row.identity_no, row.profile_no)
        for chunk in chunks(profile_nos)
        for row in connection.execute(select(m.identity_no, m.profile_no).where(among(m.profile_no, chunk)))
    ]


def profiles_of(connection: Connection, identity_nos: Iterable[int]) -> dict[int, int]:
    """Return identity_no → profile_no of those identities that exist."""
    m = profile_members.c
    return {
        row.identity_no: row.profile_no
        for chunk in chunks(identity_nos)
        for row in connection.execute(select(m.identity_no, m.profile_no).where(among(m.identity_no, chunk)))
    }


def touched(connection: Connection, after: int) -> list[int]:
    """Return the identities of which anything was written in commits after ``after``, each once."""
    found: set[int] = set()
    for table in (events, trait_observations, profile_members):
        query = select(table.c.identity_no).distinct().where(since(table.c.batch, after))
        found.update(number for (number,) in read_rows(connection, query))
    return sorted(found)


def factual_since(connection: Connection, after: int, limit: int) -> list[int]:
    """Return when those commits after ``after`` were that brought facts, in order, at most ``limit``."""
    b = batches.c
    brought = (
        select(table.c.batch).where(table.c.batch == b.batch).exists()
        for table in (events, trait_observations, profile_members)
    )
    query = (
        select(b.committed_at).where(b.commit_no > after, or_(*brought)).order_by(b.commit_no).limit(limit)
    )
    return [at for (at,) in read_rows(connection, query)]


def _columns(connection: Connection, query: Select[Any]) -> Iterator[Columns]:
    if rows := read_rows(connection, query):
        yield list(zip(*rows, strict=True))


def _pages(connection: Connection, query: Select[Any]) -> Generator[Columns]:
    with connection.execution_options(yield_per=_PAGE).execute(query) as result:
        for page in result.partitions():
            yield list(zip(*page, strict=True))
