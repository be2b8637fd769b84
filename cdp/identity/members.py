"""Reads what consent must know of the members of profiles, now or as of a commit (``relate.py``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from cdp.consent import Member
from cdp.identity import queries
from cdp.identity.model import Candidate, Pair, Told
from cdp.identity.relate import relate
from cdp.identity.resolve import components
from cdp.store import Connection

_IsDevice = Callable[[str], bool]


def now(connection: Connection, profile_nos: Iterable[int], is_device: _IsDevice) -> dict[int, list[Member]]:
    """Return profile_no → its members."""
    return of(connection, queries.members_of(connection, profile_nos), is_device)


def of(
    connection: Connection,
    by_profile: Mapping[int, Sequence[int]],
    is_device: _IsDevice,
    upto: int | None = None,
) -> dict[int, list[Member]]:
    """Return profile_no → its members, of profiles whose identities are known.

    :param by_profile: profile_no → its identity numbers; one that is not there any more is left out.
    :param upto: as of this commit; now when None.
    """
    everyone = [number for numbers in by_profile.values() for number in numbers]
    known = {item.identity_no: item for item in queries.identifiers(connection, everyone)}
    several = {profile_no: numbers for profile_no, numbers in by_profile.items() if len(numbers) > 1}
    home = {number: profile_no for profile_no, numbers in several.items() for number in numbers}
    suppressed = queries.suppressed_among(connection, home, upto)
    seen: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in queries.candidates_among(connection, home, upto):
        if candidate.pair not in suppressed:
            seen[home[candidate.low]].append(candidate)
    since: dict[int, dict[Pair, list[Told]]] = defaultdict(dict)
    for pair, told in queries.linked_since(connection, home, upto).items():
        since[home[pair[0]]][pair] = told
    return {
        no: relate([known[number] for number in numbers if number in known], seen[no], since[no], is_device)
        for no, numbers in by_profile.items()
    }


def at(connection: Connection, identity_no: int, commit_no: int, is_device: _IsDevice) -> list[Member]:
    """Return the members of the profile in which an identity was at a commit."""
    known = {item.identity_no for item in queries.component(connection, identity_no, commit_no)}
    if identity_no not in known:
        return []
    (numbers,) = (group for group in grouped(connection, known, commit_no) if identity_no in group)
    return of(connection, {identity_no: numbers}, is_device, commit_no)[identity_no]


def grouped(connection: Connection, identity_nos: Collection[int], commit_no: int) -> list[list[int]]:
    """Return whole components as the profiles that they were at a commit: identity numbers, ascending."""
    known = set(identity_nos)
    linked = queries.linked_since(connection, known, commit_no)
    root = components(known, (pair for pair in linked if known.issuperset(pair)))
    found: dict[int, list[int]] = defaultdict(list)
    for number in sorted(known):
        found[root[number]].append(number)
    return list(found.values())
