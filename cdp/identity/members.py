"""Reads what consent must know of the members of profiles, now or as of a commit (``relate.py``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from cdp.consent import Member
from cdp.identity import queries
from cdp.identity.model import Candidate, Pair, Told
from cdp.identity.relate import relate
from cdp.identity.resolve import components
from cdp.store import Connection

_IsDevice = Callable[[str], bool]


def now(connection: Connection, profile_nos: Iterable[int], is_device: _IsDevice) -> dict[int, list[Member]]:
    """Return profile_no → its members."""
    by_profile = queries.members_of(connection, profile_nos)
    everyone = [number for numbers in by_profile.values() for number in numbers]
    known = {item.identity_no: item for item in queries.identifiers(connection, everyone)}
    several = {profile_no: numbers for profile_no, numbers in by_profile.items() if len(numbers) > 1}
    home = {number: profile_no for profile_no, numbers in several.items() for number in numbers}
    suppressed = queries.suppressed_among(connection, home)
    seen: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in queries.candidates_among(connection, home):
        if candidate.pair not in suppressed:
            seen[home[candidate.low]].append(candidate)
    since: dict[int, dict[Pair, list[Told]]] = defaultdict(dict)
    for pair, told in queries.linked_since(connection, home).items():
        since[home[pair[0]]][pair] = told
    return {
        no: relate([known[number] for number in numbers], seen[no], since[no], is_device)
        for no, numbers in by_profile.items()
    }


def at(connection: Connection, identity_no: int, commit_no: int, is_device: _IsDevice) -> list[Member]:
    """Return the members of the profile in which an identity was at a commit."""
    known = {item.identity_no: item for item in queries.component(connection, identity_no, commit_no)}
    if identity_no not in known:
        return []
    since = queries.linked_since(connection, known, commit_no)
    root = components(known, since)
    numbers = [number for number in sorted(known) if root[number] == root[identity_no]]
    suppressed = queries.suppressed_among(connection, numbers, commit_no)
    seen = queries.candidates_among(connection, numbers, commit_no)
    standing = [candidate for candidate in seen if candidate.pair not in suppressed]
    return relate([known[number] for number in numbers], standing, since, is_device)
