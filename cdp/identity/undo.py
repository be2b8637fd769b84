"""What an id stood for before its profile was merged: what a split takes out that names nothing but the id.

Steps:

1. Find the last merge or match that stands and brought the profile of the id together with others: the id is
   an end of it, or was the number of a profile that holds one.
2. Its *side* is that profile as it was then; the *others* are those who came together with it.
3. Of the profile as it is now, everybody is taken out who is one with the id when each pair of the side and
   the others is revoked. So whoever joined since goes with whom it is linked to. Where something told since
   holds both together by way of a third, whoever joined since stays.

Where no merge is to be taken back, it is the one identity that the id names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from cdp.identity import queries
from cdp.identity.anew.queries import merges
from cdp.identity.linker import Linker
from cdp.identity.model import Pair
from cdp.identity.plan import across
from cdp.identity.resolve import components
from cdp.store import Connection


def side_of(
    linker: Linker, connection: Connection, number: int, home: Mapping[int, int], suppressed: Collection[Pair]
) -> set[int]:
    """Return whom a split by the id of an identity takes out of its profile.

    :param home: identity_no → profile_no, of whole components that are locked.
    :param suppressed: pairs that stand revoked.
    """
    members = {one for one, profile_no in home.items() if profile_no == home[number]}
    was, came = _before(connection, number, home)
    came &= members
    if not came:
        return {number}
    alone = linker.resolution(connection, home, {*suppressed, *across(was, came)}).profile_of
    mine = {one for one in members if alone[one] == alone[number]}
    return mine if mine.isdisjoint(came) else mine & was


def _before(connection: Connection, number: int, home: Mapping[int, int]) -> tuple[set[int], set[int]]:
    """Return the profile of an id before the last merge of it that stands, and who came together with it."""
    standing = {pair for pair, (accepted, _) in queries.latest_links(connection, home).items() if accepted}
    joined: dict[int, set[int]] = defaultdict(set)
    for commit_no, pair in merges(connection, home):
        if pair in standing and home[pair[0]] == home[number]:
            joined[commit_no].update(pair)
    for commit_no, ends in sorted(joined.items(), reverse=True):  # 1
        was = _profile(connection, number, home, commit_no - 1)
        if number in ends or (number == min(was) and ends & was):
            return was, _profile(connection, number, home, commit_no) - was  # 2
    return set(), set()


def _profile(connection: Connection, number: int, known: Collection[int], upto: int) -> set[int]:
    """Return the profile of an identity at a commit, of those who are known."""
    held = queries.linked_since(connection, known, upto)
    root = components(known, (pair for pair in held if pair[1] in known))
    return {one for one in known if root[one] == root[number]}
