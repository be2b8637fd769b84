"""Reads and writes of identities, candidates, links and the identity→profile map."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import ColumnElement, Connection, Select, func, literal, select

from cdp.clock import Micros
from cdp.identity.model import RULES, Candidate, Identifier, Judged, Pair, Seen, weight
from cdp.identity.tables import (
    identifier_index,
    identities,
    link_candidates,
    link_suppressions,
    links,
    profile_members,
)
from cdp.store import (
    among,
    among_bytes,
    chunks,
    commit_order,
    insert_ignoring,
    insert_many,
    insert_new,
    read_among,
    read_numbers,
    read_rows,
    since,
    until,
    update_many,
    wait_for_rows,
)

IDENTITY_COLUMNS = ("identity_no", "type", "value", "created_at", "first_event_id", "batch")
MEMBER_COLUMNS = ("identity_no", "profile_no", "cluster_no", "batch")
CANDIDATE_COLUMNS = (
    "low", "high", "occurred_at", "event_id", "position", "received_at", "verified", "batch", "origin",
)  # fmt: skip
LINK_COLUMNS = (
    "low", "high", "batch", "accepted", "reason", "event_id", "rules_version", "decided_at",
)  # fmt: skip
SUPPRESSION_COLUMNS = ("low", "high", "batch", "suppressed", "actor", "decided_at")

_I, _M, _C, _L = identities.c, profile_members.c, link_candidates.c, links.c
_S = link_suppressions.c
_SEEN = select(_I.identity_no, _I.type, _I.created_at, _I.first_event_id).where(among(_I.identity_no))
_PROFILE_OF = select(_M.identity_no, _M.profile_no).where(among(_M.identity_no))
_CLUSTER_OF = select(_M.identity_no, _M.cluster_no).where(among(_M.identity_no))
_MEMBERS = select(_M.profile_no, _M.identity_no).where(among(_M.profile_no)).order_by(_M.identity_no)
_COMPONENTS = select(_M.identity_no, _M.profile_no, _M.cluster_no).where(among(_M.cluster_no))
_CANDIDATES = select(
    _C.occurred_at, _C.event_id, _C.position, _C.low, _C.high, _C.received_at, _C.verified, _C.origin
).where(among(_C.low))
_SUPPRESSIONS = (
    select(_S.low, _S.high, _S.suppressed, _S.actor).where(among(_S.low)).order_by(commit_order(_S.batch))
)
_JUDGED = (
    select(_L.low, _L.high, _L.accepted, _L.decided_at, _L.event_id)
    .where(among(_L.low))
    .order_by(commit_order(_L.batch))
)


def find(connection: Connection, indexes: Collection[bytes]) -> dict[bytes, int]:
    """Return blind index → identity_no for those that exist."""
    found: dict[bytes, int] = {}
    for chunk in chunks(indexes):
        query = select(identifier_index.c.blind_index, identifier_index.c.identity_no).where(
            among_bytes(connection, identifier_index.c.blind_index, chunk)
        )
        found.update(read_rows(connection, query))
    return found


def blind_indexes(connection: Connection, identity_nos: Iterable[int]) -> dict[int, list[bytes]]:
    """Return identity_no → its blind indexes; one that was erased has none."""
    found: dict[int, list[bytes]] = defaultdict(list)
    for chunk in chunks(identity_nos):
        query = select(identifier_index.c.identity_no, identifier_index.c.blind_index).where(
            among(identifier_index.c.identity_no, chunk)
        )
        for number, index in read_rows(connection, query):
            found[number].append(index)
    return dict(found)


def claim_indexes(connection: Connection, rows: Sequence[tuple[bytes, int]], version: int) -> set[bytes]:
    """Store the (blind index, identity_no) rows that are new, given sorted; returns their indexes.

    :param version: of the normaliser that made the values.
    """
    columns = ("blind_index", "identity_no", "version")
    given = [(*row, version) for row in rows]
    return {index for (index,) in insert_new(connection, identifier_index, columns, given, ("blind_index",))}


def any_of_version(connection: Connection, version: int) -> bool:
    """Return whether anybody is indexed under a version of the normaliser."""
    query = select(identifier_index.c.identity_no).where(_made_by(version))
    return connection.execute(query.limit(1)).first() is not None


def _made_by(version: int) -> ColumnElement[bool]:  # a literal, as in ``ix_identifier_index_earlier``
    return identifier_index.c.version == literal(version, literal_execute=True)


def version_extent(connection: Connection, version: int) -> tuple[int, int]:
    """Return (how many identities are indexed under a version, the last of them)."""
    query = select(func.count(), func.max(identifier_index.c.identity_no)).where(_made_by(version))
    count, last = connection.execute(query).one()
    return int(count), int(last or 0)


def version_page(connection: Connection, version: int, after: int, upto: int, limit: int) -> list[int]:
    """Return the next identities that are indexed under a version, ascending."""
    x = identifier_index.c
    query = select(x.identity_no).where(_made_by(version), x.identity_no > after, x.identity_no <= upto)
    return [int(row[0]) for row in connection.execute(query.order_by(x.identity_no).limit(limit))]


def add_identities(connection: Connection, rows: Sequence[Sequence[Any]], batch: int) -> None:
    """Insert identities (tuples in the order of ``IDENTITY_COLUMNS``), each its own profile."""
    insert_many(connection, identities, IDENTITY_COLUMNS, rows)
    own = [(row[0], row[0], row[0], batch) for row in rows]
    insert_many(connection, profile_members, MEMBER_COLUMNS, own)


def identity_types(connection: Connection, identity_nos: Iterable[int]) -> dict[int, str]:
    """Return identity_no → identifier type."""
    return {number: one.type for number, one in seen(connection, identity_nos).items()}


def seen(connection: Connection, identity_nos: Iterable[int]) -> dict[int, Seen]:
    """Return identity_no → of what type it is, when and in which event it was first seen."""
    return {row[0]: Seen(*row) for row in read_among(connection, _SEEN, identity_nos)}


def identifiers(connection: Connection, identity_nos: Iterable[int]) -> list[Identifier]:
    """Return identities, their values sealed; ``device`` is filled in by the service."""
    found = []
    for chunk in chunks(identity_nos):
        i = identities.c
        query = select(i.identity_no, i.type, i.created_at, i.value, i.first_event_id)
        found += [
            Identifier(
                identity_no=number,
                type=kind,
                device=False,
                created_at=created_at,
                value=value,
                first_event_id=event_id,
            )
            for number, kind, created_at, value, event_id in read_rows(
                connection, query.where(among(i.identity_no, chunk))
            )
        ]
    return sorted(found, key=lambda identifier: identifier.identity_no)


def earliest_candidates(
    connection: Connection, pairs: Collection[Pair], turn: Callable[[Pair, Micros], int]
) -> dict[tuple[Pair, int, int], tuple[Micros, bytes]]:
    """Return (pair, weight, turn) → the earliest (occurred_at, event id), of pairs with ends of these.

    Without matches: whatever is told of a pair says more than a guess. What is known of a shared device is
    read past: only its lower end is looked up in an index, the other is compared.
    """
    found: dict[tuple[Pair, int, int], tuple[Micros, bytes]] = {}
    c = link_candidates.c
    for chunk in chunks(pairs):
        lows, highs = {low for low, _ in chunk}, {high for _, high in chunk}
        query = select(c.low, c.high, c.occurred_at, c.event_id, c.verified, c.origin).where(
            among(c.low, lows), among(c.high + 0, highs), c.origin != "match"
        )
        for low, high, occurred_at, event_id, verified, origin in read_rows(connection, query):
            pair, key = (low, high), (occurred_at, event_id)
            kind = pair, weight(verified, origin), turn(pair, occurred_at)
            found[kind] = min(key, found.get(kind, key))
    return found


def add_candidates(connection: Connection, candidates: Sequence[Candidate], batch: int) -> None:
    """Insert candidates; one seen already is left alone."""
    rows = [
        (c.low, c.high, c.occurred_at, c.event_id, c.position, c.received_at, c.verified, batch, c.origin)
        for c in sorted(candidates, key=lambda c: (c.low, c.high, c.occurred_at, c.event_id))
    ]
    insert_ignoring(connection, link_candidates, CANDIDATE_COLUMNS, rows)


def clusters_of(connection: Connection, identity_nos: Iterable[int]) -> dict[int, int]:
    """Return identity_no → number of its component of candidates."""
    return dict(read_among(connection, _CLUSTER_OF, identity_nos))


def cluster_sizes(connection: Connection, identity_nos: Iterable[int]) -> dict[int, int]:
    """Return component of candidates → how many identities it has, of those that hold one of these."""
    m = profile_members.c
    found: dict[int, int] = {}
    for chunk in chunks(identity_nos):
        touched = select(m.cluster_no).where(among(m.identity_no, chunk))
        query = select(m.cluster_no, func.count()).where(m.cluster_no.in_(touched)).group_by(m.cluster_no)
        found.update(read_rows(connection, query))
    return found


def profiles_of(connection: Connection, identity_nos: Iterable[int]) -> dict[int, int]:
    """Return identity_no → profile_no."""
    return dict(read_among(connection, _PROFILE_OF, identity_nos))


def component(connection: Connection, identity_no: int, upto: int) -> list[Identifier]:
    """Return the identities that ever were in one component with this one and existed at a commit."""
    own = select(profile_members.c.cluster_no).where(profile_members.c.identity_no == identity_no)
    query = (
        select(identities.c.identity_no)
        .join(profile_members, profile_members.c.identity_no == identities.c.identity_no)
        .where(profile_members.c.cluster_no == own.scalar_subquery(), until(identities.c.batch, upto))
    )
    return identifiers(connection, connection.execute(query).scalars())


def lock_clusters(connection: Connection, cluster_nos: Collection[int]) -> dict[int, tuple[int, int]]:
    """Lock components in one order, each by the row of its number; return no → (profile, component)."""
    found = {}
    m = profile_members.c
    for chunk in chunks(sorted(cluster_nos)):
        wait_for_rows(connection, select(m.identity_no).where(among(m.identity_no, chunk)), m.identity_no)
        rows = read_among(connection, _COMPONENTS, chunk)  # it sees what they did for whom we waited
        found.update({number: (profile_no, cluster_no) for number, profile_no, cluster_no in rows})
    return found


def candidates_among(
    connection: Connection, identity_nos: Iterable[int], upto: int | None = None
) -> list[Candidate]:
    """Return every candidate whose low end is one of these identities (a whole component).

    :param upto: as of this commit; now when None (here and below).
    """
    rows = read_among(connection, _as_of(_CANDIDATES, _C.batch, upto), identity_nos)
    return [Candidate(*[*row[:6], bool(row[6]), row[7]]) for row in rows]


def _as_of(query: Select[Any], batch: ColumnElement[int], upto: int | None) -> Select[Any]:
    return query if upto is None else query.where(until(batch, upto))


def suppressed_among(
    connection: Connection, identity_nos: Iterable[int], upto: int | None = None
) -> set[Pair]:
    """Return the pairs among these identities that stand revoked."""
    return set(suppressed_by(connection, identity_nos, upto))


def suppressed_by(
    connection: Connection, identity_nos: Iterable[int], upto: int | None = None
) -> dict[Pair, str]:
    """Return the pairs among these identities that stand revoked, each with who revoked it.

    The newest decision holds, but ``RULES`` neither take over nor lift what a steward revoked.
    """
    found: dict[Pair, str] = {}
    rows = read_among(connection, _as_of(_SUPPRESSIONS, _S.batch, upto), identity_nos)
    for low, high, suppressed, actor in rows:
        if actor == RULES != found.get((low, high), RULES):
            continue
        if suppressed:
            found[low, high] = actor
        else:
            found.pop((low, high), None)
    return found


def add_suppressions(
    connection: Connection, pairs: Iterable[Pair], batch: int, actor: str, now: Micros, *, suppressed: bool
) -> None:
    """Record that pairs are revoked, or admitted again."""
    rows = [(low, high, batch, suppressed, actor, now) for low, high in sorted(pairs)]
    insert_many(connection, link_suppressions, SUPPRESSION_COLUMNS, rows)


def judged(
    connection: Connection, identity_nos: Iterable[int], upto: int | None = None
) -> dict[Pair, list[Judged]]:
    """Return pair → every decision about its link, the last one last."""
    found: dict[Pair, list[Judged]] = defaultdict(list)
    rows = read_among(connection, _as_of(_JUDGED, _L.batch, upto), identity_nos)
    for low, high, accepted, decided_at, event_id in rows:
        found[low, high].append(Judged(bool(accepted), decided_at, event_id))
    return found


def latest_links(connection: Connection, identity_nos: Iterable[int]) -> dict[Pair, tuple[bool, bytes]]:
    """Return pair → (accepted, evidence event id) as last decided."""
    found = judged(connection, identity_nos)
    return {pair: (told[-1].accepted, told[-1].event_id) for pair, told in found.items()}


def add_links(connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Append decisions about pairs (tuples in the order of ``LINK_COLUMNS``)."""
    insert_many(connection, links, LINK_COLUMNS, rows)


def move(connection: Connection, moved: Mapping[int, tuple[int, int]], batch: int) -> None:
    """Write identity_no → (profile_no, cluster_no) for identities that changed either."""
    rows = [(number, *home, batch) for number, home in sorted(moved.items())]
    update_many(connection, profile_members, MEMBER_COLUMNS[:1], MEMBER_COLUMNS[1:], rows)


def members_of(connection: Connection, profile_nos: Iterable[int]) -> dict[int, list[int]]:
    """Return profile_no → its identity numbers, ascending."""
    found: dict[int, list[int]] = defaultdict(list)
    for profile_no, number in read_among(connection, _MEMBERS, profile_nos):
        found[profile_no].append(number)
    return dict(found)


def everybody(connection: Connection) -> dict[int, list[int]]:
    """Return profile_no → its identity numbers, ascending, of every profile."""
    m = profile_members.c
    pairs = read_numbers(connection, select(m.profile_no, m.identity_no))
    numbers = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    profiles, starts = np.unique(numbers[:, 0], return_index=True)
    identities, ends = numbers[:, 1].tolist(), np.append(starts, len(numbers))[1:].tolist()
    parts = zip(profiles.tolist(), starts.tolist(), ends, strict=True)
    return {profile_no: identities[start:end] for profile_no, start, end in parts}


def alone(connection: Connection, after: int, upto: int) -> NDArray[np.int64]:
    """Return the identities above ``after``, up to ``upto``, that are a profile by themselves."""
    m = profile_members.c
    query = select(m.profile_no).where(m.profile_no > after, m.profile_no <= upto).group_by(m.profile_no)
    return read_numbers(connection, select(query.having(func.count() == 1).subquery().c.profile_no))[:, 0]


def relinked_since(connection: Connection, commit_no: int) -> BitMap:
    """Return every identity of whose links to others anything changed after a commit.

    Whole components, because a split moves only the identities that leave; and both ends of every link that
    was decided or revoked, as links may also change between identities that stay together.
    """
    m = profile_members.c
    moved = select(m.cluster_no).where(since(m.batch, commit_no)).distinct()
    found = BitMap()
    for chunk in chunks([int(row[0]) for row in connection.execute(moved)]):
        query = select(m.identity_no).where(among(m.cluster_no, chunk))
        found.update(connection.execute(query).scalars())
    for table in (links, link_suppressions):
        pairs = select(table.c.low, table.c.high).where(since(table.c.batch, commit_no))
        found.update(number for pair in read_rows(connection, pairs) for number in pair)
    return found


def identifiers_of_type(
    connection: Connection, profile_nos: Iterable[int], kind: str
) -> Iterator[tuple[int, int, bytes]]:
    """Yield (profile_no, identity_no, sealed value) of one identifier type, oldest identity first."""
    for chunk in chunks(profile_nos):
        query = (
            select(profile_members.c.profile_no, identities.c.identity_no, identities.c.value)
            .join_from(profile_members, identities, profile_members.c.identity_no == identities.c.identity_no)
            .where(among(profile_members.c.profile_no, chunk), identities.c.type == kind)
            .order_by(identities.c.identity_no)
        )
        for row in connection.execute(query):
            yield int(row[0]), int(row[1]), row[2]


def profile_page(connection: Connection, limit: int, after: int) -> list[int]:
    """Return up to ``limit`` profile numbers above ``after``, ascending."""
    query = (
        select(profile_members.c.profile_no)
        .where(profile_members.c.profile_no > after)
        .distinct()
        .order_by(profile_members.c.profile_no)
        .limit(limit)
    )
    return [int(row[0]) for row in connection.execute(query)]
