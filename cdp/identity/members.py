"""Reads what consent must know of the members of profiles, now or as of a commit (``relate.py``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from itertools import chain, takewhile

from cdp.consent import Member
from cdp.identity import queries
from cdp.identity.model import Candidate, Judged, Pair, Seen, Told
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
    several = {number for numbers in by_profile.values() if len(numbers) > 1 for number in numbers}
    return related(
        by_profile,
        queries.seen(connection, chain.from_iterable(by_profile.values())),
        queries.candidates_among(connection, several, upto),
        queries.suppressed_by(connection, several, upto),
        queries.judged(connection, several, upto),
        is_device,
    )


def related(
    by_profile: Mapping[int, Sequence[int]],
    first: Mapping[int, Seen],
    candidates: Iterable[Candidate],
    suppressed: Container[Pair],
    judged: Mapping[Pair, Sequence[Judged]],
    is_device: _IsDevice,
) -> dict[int, list[Member]]:
    """Return profile_no → its members, from what was told of these and maybe others.

    :param first: identity_no → how it was first seen; who is not there is left out.
    :param candidates: those of pairs that are ``suppressed`` say nothing.
    :param judged: pair → every decision about its link, the last one last.
    """
    home = {
        number: profile_no
        for profile_no, numbers in by_profile.items()
        if len(numbers) > 1
        for number in numbers
    }
    seen: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.low in home and candidate.pair not in suppressed:
            seen[home[candidate.low]].append(candidate)
    since: dict[int, dict[Pair, list[Told]]] = defaultdict(dict)
    for pair, decisions in judged.items():
        if pair[0] in home and decisions[-1].accepted:
            since[home[pair[0]]][pair] = linked_since(decisions)
    return {
        no: relate([first[number] for number in numbers if number in first], seen[no], since[no], is_device)
        for no, numbers in by_profile.items()
    }


def linked_since(decisions: Sequence[Judged]) -> list[Told]:
    """Return when a link that stands was accepted, on whose word: a split starts anew."""
    accepted = takewhile(lambda one: one.accepted, reversed(decisions))
    return [(one.decided_at, one.event_id) for one in accepted][::-1]


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
    judged = queries.judged(connection, known, commit_no)
    linked = (pair for pair, decisions in judged.items() if decisions[-1].accepted)
    root = components(known, (pair for pair in linked if known.issuperset(pair)))
    found: dict[int, list[int]] = defaultdict(list)
    for number in sorted(known):
        found[root[number]].append(number)
    return list(found.values())
