"""Reads the links and the evidence around the profiles of some identities."""

from __future__ import annotations

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
    return walk(
        profile_of,
        {pair for pair, trusted in told.items() if trusted and decided.get(pair, (False,))[0]},
        told.keys(),
        lambda number: is_device(types.get(number, "")),
    )


def _told(connection: Connection, identity_nos: Iterable[int]) -> dict[Pair, bool]:
    """Return every pair with one of these that anything told → whether a trusted word did.

    A guess of matching is no word (``propose.py``).
    """
    c = link_candidates.c
    found: dict[Pair, bool] = {}
    for chunk in chunks(identity_nos):
        for end in (c.low, c.high):
            query = select(c.low, c.high, c.verified).where(among(end, chunk)).distinct()
            for low, high, trusted in read_rows(connection, query):
                found[low, high] = bool(trusted) or found.get((low, high), False)
    return found
