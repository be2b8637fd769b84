"""Reads across the stages that no single stage answers."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from pyroaring import BitMap
from sqlalchemy import Connection, Select, and_, func, select, tuple_, union

from cdp.clock import Micros
from cdp.identity import Origin
from cdp.identity.tables import identities, link_candidates, links, profile_members
from cdp.ingest.tables import events
from cdp.segments.tables import segment_follow, segment_members
from cdp.store import among, among_bytes, batches, chunks

LinkPlace = tuple[Micros, int, int, int]
"""Where a link stands in a list, the newest first: (decided_at, batch, low, high)."""


class HeldIdentifier(NamedTuple):
    """An identity with its value sealed, and the event that made it known: (batch, event id)."""

    identity_no: int
    type: str
    value: bytes
    created_at: Micros
    batch: int
    event_id: bytes


class HeldLink(NamedTuple):
    """A decision about a pair, and its evidence where that is still there.

    :param holds: whether the pair was not decided again.
    :param told: (batch, origin, when) of the candidate.
    """

    low: int
    high: int
    batch: int
    accepted: bool
    reason: str
    event_id: bytes
    rules_version: int
    decided_at: Micros
    holds: bool
    told: tuple[int, Origin, Micros] | None


class Evaluation(NamedTuple):
    """Who was in a segment when it was last evaluated: profile numbers.

    :param as_of: the commit as of which.
    """

    version: int
    as_of: int
    computed_at: Micros
    members: BitMap


def evaluations(connection: Connection) -> dict[str, Evaluation]:
    """Return segment name, in order → its newest evaluation."""
    c = segment_members.c
    newest = select(c.name, func.max(c.version).label("version")).group_by(c.name).subquery()
    query = (
        select(c.name, c.version, c.as_of, c.computed_at, c.members, c.followed)
        .join(
            newest,
            (c.name == newest.c.name) & (c.version == newest.c.version),
        )
        .order_by(c.name)
    )
    held = connection.execute(select(segment_follow.c.as_of, segment_follow.c.computed_at)).first()
    found: dict[str, Evaluation] = {}
    for row in connection.execute(query):
        upto = (row.as_of, row.computed_at) if held is None or not row.followed else held
        as_of, computed_at = (max(pair) for pair in zip((row.as_of, row.computed_at), upto, strict=True))
        found[row.name] = Evaluation(row.version, as_of, computed_at, BitMap.deserialize(row.members))
    return found


def parted_at(connection: Connection, identity_nos: Collection[int]) -> dict[int, int]:
    """Return identity_no → the last commit by which a link of it that had stood stands no longer."""
    c, stood, gone = link_candidates.c, links.alias(), links.alias()
    found: dict[int, int] = {}
    for chunk in chunks(identity_nos):
        pairs = union(
            select(c.low, c.high).where(among(c.low, chunk)),
            select(c.low, c.high).where(among(c.high, chunk)),
        ).subquery()
        ever = select(stood.c.low).where(
            stood.c.low == gone.c.low, stood.c.high == gone.c.high, stood.c.accepted
        )
        query = (
            select(gone.c.low, gone.c.high, batches.c.commit_no)
            .join(pairs, and_(gone.c.low == pairs.c.low, gone.c.high == pairs.c.high))
            .join(batches, batches.c.batch == gone.c.batch)
            .where(~gone.c.accepted, ever.correlate(gone).exists())
        )
        for *ends, commit_no in connection.execute(query):
            found.update((end, max(commit_no, found.get(end, 0))) for end in ends)
    return found


def count_profiles(connection: Connection) -> int:
    """Return how many profiles there are."""
    query = select(func.count(profile_members.c.profile_no.distinct()))
    return int(connection.execute(query).scalar_one())


def identifier_page(connection: Connection, profile_no: int, limit: int, after: int) -> list[HeldIdentifier]:
    """Return up to ``limit`` identifiers of a profile above identity ``after``, in the order they came in."""
    i, m = identities.c, profile_members.c
    query = (
        select(i.identity_no, i.type, i.value, i.created_at, i.batch, i.first_event_id)
        .join(profile_members, m.identity_no == i.identity_no)
        .where(m.profile_no == profile_no, i.identity_no > after)
        .order_by(i.identity_no)
        .limit(limit)
    )
    return [HeldIdentifier(*row) for row in connection.execute(query)]


def link_page(
    connection: Connection, profile_no: int, limit: int, before: LinkPlace | None
) -> list[HeldLink]:
    """Return up to ``limit`` decisions about pairs with an end in a profile, the newest first.

    Pairs are found by their candidates, of which both ends are indexed.
    """
    c, d = link_candidates.c, links.c
    own = select(profile_members.c.identity_no).where(profile_members.c.profile_no == profile_no)
    pairs = union(
        select(c.low, c.high).where(c.low.in_(own)), select(c.low, c.high).where(c.high.in_(own))
    ).subquery()
    place = d.decided_at, d.batch, d.low, d.high
    page: Select[tuple[int, ...]] = select(links).join(
        pairs, and_(d.low == pairs.c.low, d.high == pairs.c.high)
    )
    if before is not None:
        page = page.where(tuple_(*place) < tuple_(*before))
    shown = page.order_by(*(column.desc() for column in place)).limit(limit).subquery()
    later, made, remade = links.alias(), batches.alias(), batches.alias()
    again = (
        select(later.c.low)
        .join(remade, remade.c.batch == later.c.batch)
        .join(made, made.c.batch == shown.c.batch)
        .where(later.c.low == shown.c.low, later.c.high == shown.c.high)
        .where(remade.c.commit_no > made.c.commit_no)
        .correlate(shown)
        .exists()
    )
    s = shown.c
    query = select(
        s.low, s.high, s.batch, s.accepted, s.reason, s.event_id, s.rules_version, s.decided_at,
        again, c.batch, c.origin, c.occurred_at,
    ).outerjoin_from(
        shown, link_candidates, and_(c.low == s.low, c.high == s.high, c.event_id == s.event_id)
    )  # fmt: skip
    found: dict[LinkPlace, HeldLink] = {}
    for row in connection.execute(query):
        *held, decided_again, told_in, origin, at = row
        told = None if told_in is None else (int(told_in), origin, int(at))
        link = HeldLink._make([*held, not decided_again, told])
        found.setdefault((link.decided_at, link.batch, link.low, link.high), link)
    return [found[where] for where in sorted(found, reverse=True)]


def types_of(connection: Connection, identity_nos: Collection[int]) -> dict[int, tuple[str, int]]:
    """Return identity_no → (type, profile_no), of those that are still there."""
    i, m = identities.c, profile_members.c
    query = select(i.identity_no, i.type, m.profile_no).join(profile_members, m.identity_no == i.identity_no)
    rows = connection.execute(query.where(among(i.identity_no, identity_nos)))
    return {int(number): (kind, int(profile_no)) for number, kind, profile_no in rows}


def sources_of(connection: Connection, told: Collection[tuple[int, bytes]]) -> dict[tuple[int, bytes], int]:
    """Return (batch, event id) → source_id of events that are stored."""
    if not told:
        return {}
    e = events.c
    query = select(e.batch, e.event_id, e.source_id).where(
        among(e.batch, {batch for batch, _ in told}),
        among_bytes(connection, e.event_id, sorted({event_id for _, event_id in told})),
    )
    return {
        (int(batch), bytes(event_id)): int(source) for batch, event_id, source in connection.execute(query)
    }
