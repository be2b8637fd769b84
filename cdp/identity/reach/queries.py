"""Reads the links and the evidence around the profiles of some identities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable

from sqlalchemy import Connection, select

from cdp.identity import queries
from cdp.identity.model import Pair
from cdp.identity.reach.walk import Reach, walk
from cdp.identity.tables import link_candidates
from cdp.store import among, chunks, read_rows


def reach_of(
    connection: Connection, identity_nos: Collection[int], is_device: Callable[[str], bool]
) -> Reach:
    """Return what somebody may see who proved these identities; those that are gone are left out.

    :param is_device: of a type of identifiers.
    """
    profile_of = queries.profiles_of(connection, identity_nos)
    held = queries.members_of(connection, set(profile_of.values()))
    everyone = {number for numbers in held.values() for number in numbers}
    told = _told(connection, everyone)
    decided = queries.latest_links(connection, everyone)
    types = queries.identity_types(connection, everyone.union(*told)) if told else {}
    types |= queries.identity_types(connection, profile_of)
    standing = {pair for pair in told if decided.get(pair, (False,))[0]}
    return walk(
        profile_of,
        {pair for pair in standing if told[pair]},
        told.keys(),
        lambda number: is_device(types.get(number, "")),
        {pair for pair in standing if told[pair] == {"merge"}},
    )


def _told(connection: Connection, identity_nos: Iterable[int]) -> dict[Pair, set[str]]:
    """Return every pair with one of these that anything told → what trusted words did (``Origin``).

    A guess of matching is no word (``propose.py``).
    """
    c = link_candidates.c
    found: dict[Pair, set[str]] = defaultdict(set)
    for chunk in chunks(identity_nos):
        for end in (c.low, c.high):
            query = select(c.low, c.high, c.verified, c.origin).where(among(end, chunk)).distinct()
            for low, high, trusted, origin in read_rows(connection, query):
                found[low, high].update((origin,) if trusted else ())
    return found
