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
from collections.abc import Collection, Iterable, Mapping

from cdp.identity.anew.queries import Linked, link_history, merges
from cdp.identity.evidence import Evidence
from cdp.identity.model import Pair
from cdp.identity.plan import across
from cdp.identity.resolve import Groups, linked
from cdp.store import Connection


def side_of(told: Evidence, connection: Connection, number: int, home: Mapping[int, int]) -> set[int]:
    """Return whom a split by the id of an identity takes out of its profile.

    :param told: what was told of its component.
    :param home: identity_no → profile_no, of whole components that are locked.
    """
    members = {one for one, profile_no in home.items() if profile_no == home[number]}
    was, came = _before(connection, number, home)
    came &= members
    if not came:
        return {number}
    alone = told.resolution(told.suppressed.keys() | across(was, came)).profile_of
    mine = {one for one in members if alone[one] == alone[number]}
    return mine if mine.isdisjoint(came) else mine & was


def _before(connection: Connection, number: int, home: Mapping[int, int]) -> tuple[set[int], set[int]]:
    """Return the profile of an id before the last merge of it that stands, and who came together with it."""
    history = link_history(connection, home)
    standing = _held(history)
    joined: dict[int, set[int]] = defaultdict(set)
    for commit_no, pair in merges(connection, home):
        if pair in standing and home[pair[0]] == home[number]:
            joined[commit_no].update(pair)
    last = last_joined(history, number, home, joined)
    if last is None:
        return set(), set()
    was = _profile(number, home, (link for link in history if link.commit_no < last))
    return was, _profile(number, home, (link for link in history if link.commit_no <= last)) - was  # 2


def last_joined(
    history: Iterable[Linked], number: int, known: Collection[int], joined: Mapping[int, Collection[int]]
) -> int | None:
    """Return the last commit at which the profile of an id, as it was before, was joined (step 1).

    :param joined: commit → ends of what stewards and matching linked then.
    """
    decided: dict[int, list[Linked]] = {commit_no: [] for commit_no in joined}
    for link in history:
        decided.setdefault(link.commit_no, []).append(link)
    held: set[Pair] = set()
    groups: Groups | None = None  # of those that ``held`` links; None where a link fell since
    last = None
    for commit_no, links in sorted(decided.items()):
        if ends := joined.get(commit_no):
            groups = groups or linked(known, held)
            mine = groups.root(number)
            if number in ends or (mine == number and any(groups.root(one) == mine for one in ends)):
                last = commit_no
        for link in links:
            if link.accepted:
                held.add(link.pair)
                if groups:
                    groups.unite(*groups.roots(link.pair))
            elif link.pair in held:
                held.remove(link.pair)
                groups = None
    return last


def _profile(number: int, known: Collection[int], history: Iterable[Linked]) -> set[int]:
    """Return the profile of an identity after a history of links, of those who are known."""
    groups = linked(known, _held(history))
    return {one for one in known if groups.root(one) == groups.root(number)}


def _held(history: Iterable[Linked]) -> set[Pair]:
    """Return the links that stand after a history."""
    accepted = {link.pair: link.accepted for link in history}
    return {pair for pair, stands in accepted.items() if stands}
