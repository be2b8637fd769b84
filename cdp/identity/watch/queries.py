"""Reads the pairs that stand set aside and the profiles that hold many identifiers."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from cdp.clock import Micros
from cdp.identity.model import Pair
from cdp.identity.tables import identities, link_candidates, links, profile_members
from cdp.store import among, commit_order, read_rows

_PAGE = 500


class SetAside(msgspec.Struct, frozen=True, kw_only=True):
    """A pair of identities that the rules keep apart.

    :param types: of both, in the order of the pair.
    :param reason: ``unique:<type>``, ``limit:<type>`` or ``cap``.
    :param event_id: of the event that named both.
    :param rules_version: of the policies/identity.yaml that decided it.
    """

    pair: Pair
    types: tuple[str, str]
    reason: str
    event_id: bytes
    rules_version: int
    decided_at: Micros


def set_aside(
    connection: Connection,
    limit: int,
    after: Pair | None = None,
    *,
    rule: str = "",
    kind: str = "",
    profile_no: int | None = None,
) -> list[SetAside]:
    """Return up to ``limit`` pairs above ``after`` that stand set aside, by pair; without those revoked.

    :param rule: only those set aside by it: ``unique``, ``limit`` or ``cap``.
    :param kind: only those set aside for this identifier type.
    :param profile_no: only those that name an identity of this profile.
    """
    asked = _asked(rule, kind)
    if profile_no is not None:
        asked.append(_of_profile(profile_no))
    found: list[SetAside] = []
    while True:
        page = _pairs(connection, asked, after)
        standing = _standing(connection, page)
        found += [one for one in standing if _fits(one.reason, rule, kind)]
        if len(found) >= limit or len(page) < _PAGE:
            return found[:limit]
        after = page[-1]


def _asked(rule: str, kind: str) -> list[ColumnElement[bool]]:
    reason = links.c.reason
    asked = [~links.c.accepted, reason != "suppressed"]
    if rule:
        asked.append((reason == rule) | reason.startswith(f"{rule}:", autoescape=True))
    if kind:
        asked.append(reason.endswith(f":{kind}", autoescape=True))
    return asked


def _fits(reason: str, rule: str, kind: str) -> bool:
    given_rule, _, given_kind = reason.partition(":")
    return reason != "suppressed" and rule in ("", given_rule) and kind in ("", given_kind)


def _of_profile(profile_no: int) -> ColumnElement[bool]:
    """Return the condition that a pair was told of an identity of a profile."""
    c = link_candidates.c
    members = select(profile_members.c.identity_no).where(profile_members.c.profile_no == profile_no)
    told = [select(c.low, c.high).where(end.in_(members)) for end in (c.low, c.high)]
    return tuple_(links.c.low, links.c.high).in_(told[0].union(told[1]))


def _pairs(connection: Connection, asked: Collection[ColumnElement[bool]], after: Pair | None) -> list[Pair]:
    """Return the next pairs of which it was ever decided so."""
    pair = links.c.low, links.c.high
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
