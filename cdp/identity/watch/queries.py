"""Reads the pairs that stand set aside and the profiles that hold many identifiers."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from sqlalchemy import Connection, func, select, tuple_

from cdp.clock import Micros
from cdp.identity.model import Pair
from cdp.identity.tables import identities, links, profile_members
from cdp.store import among, commit_order, read_rows

_PAGE = 500


class SetAside(msgspec.Struct, frozen=True, kw_only=True):
    """A pair of identities that the rules keep apart.

    :param types: of both, in the order of the pair; None where it may not be seen.
    :param reason: ``unique:<type>``, ``limit:<type>`` or ``cap``.
    :param event_id: of the event that named both.
    :param rules_version: of the policies/identity.yaml that decided it.
    """

    pair: Pair
    types: tuple[str | None, str | None]
    reason: str
    event_id: bytes
    rules_version: int
    decided_at: Micros


def set_aside(connection: Connection, limit: int, after: Pair | None = None) -> list[SetAside]:
    """Return up to ``limit`` pairs above ``after`` that stand set aside, by pair; without those revoked."""
    found: list[SetAside] = []
    while True:
        page = _pairs(connection, after)
        found += [one for one in _standing(connection, page) if one.reason != "suppressed"]
        if len(found) >= limit or len(page) < _PAGE:
            return found[:limit]
        after = page[-1]


def _pairs(connection: Connection, after: Pair | None) -> list[Pair]:
    """Return the next pairs of which it was ever decided so."""
    pair = links.c.low, links.c.high
    asked = ~links.c.accepted, links.c.reason != "suppressed"
    query = select(*pair).where(*asked).distinct().order_by(*pair).limit(_PAGE)
    if after is not None:
        query = query.where(tuple_(*pair) > after)
    return [(low, high) for low, high in read_rows(connection, query)]


def _standing(connection: Connection, pairs: Collection[Pair]) -> list[SetAside]:
    """Return what holds of these pairs, of those that are set aside."""
    low, high = identities.alias(), identities.alias()
    d = links.c
    query = (
        select(
            d.low, d.high, low.c.type, high.c.type, d.reason, d.event_id, d.rules_version, d.decided_at,
            d.accepted,
        )
        .join_from(links, low, low.c.identity_no == d.low)
        .join(high, high.c.identity_no == d.high)
        .where(among(d.low, {one for one, _ in pairs}), among(d.high + 0, {other for _, other in pairs}))
        .order_by(d.low, d.high, commit_order(d.batch))
    )  # fmt: skip
    newest = {(row[0], row[1]): row for row in read_rows(connection, query)}
    return [
        SetAside(
            pair=pair,
            types=(row[2], row[3]),
            reason=row[4],
            event_id=row[5],
            rules_version=row[6],
            decided_at=row[7],
        )
        for pair in sorted(pairs)
        if (row := newest.get(pair)) is not None and not row[8]
    ]


def large(connection: Connection, least: int, limit: int, after: int = 0) -> list[tuple[int, int]]:
    """Return up to ``limit`` (profile_no, how many identities) above ``after``, of those with ``least``."""
    m = profile_members.c
    query = (
        select(m.profile_no, func.count())
        .where(m.profile_no > after)
        .group_by(m.profile_no)
        .having(func.count() >= least)
        .order_by(m.profile_no)
        .limit(limit)
    )
    return [(profile_no, count) for profile_no, count in read_rows(connection, query)]
