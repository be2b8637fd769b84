"""Who is vouched for to whom: links on more than a browser's word, and from there into devices only."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from cdp.consent import Member
from cdp.identity.model import Candidate, Pair, Seen, Told
from cdp.identity.relate import relate

USER, MAIL, OTHER, PHONE, TABLET = range(1, 6)
TYPES = {USER: "user_id", MAIL: "email", OTHER: "external:crm", PHONE: "anonymous_id", TABLET: "device_id"}


Since = dict[int, dict[int, int]]


def vouched(*links: tuple[int, int, int, bool]) -> dict[int, Mapping[int, int]]:
    """Return identity → whom an act of it may lift restraints of → since when.

    :param links: (one, other, accepted at, whether a server said so), oldest first.
    """
    seen: list[Candidate] = []
    since: dict[Pair, list[Told]] = {}
    for one, other, at, verified in links:
        pair = min(one, other), max(one, other)
        event_id = b"%d" % at
        seen.append(Candidate(at, event_id, 0, *pair, at, verified))
        since.setdefault(pair, []).append((at, event_id))
    profile = [Seen(number, kind, 0, b"") for number, kind in TYPES.items()]
    members = relate(profile, seen, since, lambda kind: kind in {"anonymous_id", "device_id"})
    return {member.identity_no: member.vouched_at for member in members if member.vouched_at}


def test_a_servers_links_vouch_both_ways_since_the_last_of_them() -> None:
    assert vouched((USER, MAIL, 1, True), (MAIL, PHONE, 2, True)) == {
        USER: {MAIL: 1, PHONE: 2},
        MAIL: {USER: 1, PHONE: 2},
        PHONE: {USER: 2, MAIL: 2},
    }


def test_a_browsers_link_vouches_for_no_person() -> None:
    assert vouched((USER, MAIL, 1, False)) == {}


def test_a_browsers_link_vouches_for_a_device_to_who_is_there() -> None:
    links = ((USER, PHONE, 1, False), (PHONE, TABLET, 2, False))
    assert vouched(*links) == {USER: {PHONE: 1, TABLET: 2}, PHONE: {TABLET: 2}, TABLET: {PHONE: 2}}


def test_behind_a_typed_address_or_a_claimed_device_nobody_is_vouched_for() -> None:
    links = (
        (USER, MAIL, 1, False),
        (MAIL, TABLET, 2, True),
        (USER, PHONE, 3, False),
        (PHONE, OTHER, 4, True),
    )
    assert vouched(*links)[USER] == {PHONE: 3}


def test_what_a_server_says_later_vouches_since_then() -> None:
    links = ((USER, MAIL, 1, False), (USER, MAIL, 7, True))
    assert vouched(*links) == {USER: {MAIL: 7}, MAIL: {USER: 7}}


def linked(times: Mapping[Pair, int], people: int) -> list[Member]:
    """Return the members of a profile that links on a server's word make: pair → accepted at."""
    profile = [Seen(number, "email", 0, b"") for number in range(people)]
    seen = [Candidate(at, b"e", 0, *pair, at, verified=True) for pair, at in times.items()]
    return relate(profile, seen, {pair: [(at, b"e")] for pair, at in times.items()}, lambda _: False)


def best_chains(times: Mapping[Pair, int], people: int) -> Since:
    """Return one → other → the time of the latest link on the chain of which that is the earliest."""
    found: Since = {one: {} for one in range(people)}
    for (low, high), at in times.items():
        found[low][high] = found[high][low] = at
    for middle in range(people):
        for one in range(people):
            for other in range(people):
                if one != other and middle in found[one] and other in found[middle]:
                    at = max(found[one][middle], found[middle][other])
                    found[one][other] = min(at, found[one].get(other, at))
    return found


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] < pair[1]),
        st.integers(0, 9),
        max_size=20,
    )
)
def test_whoever_a_chain_of_links_leads_to_is_linked_since_the_last_of_the_best_chain(
    times: dict[Pair, int],
) -> None:
    members = linked(times, 8)
    assert {member.identity_no: dict(member.linked_at) for member in members} == best_chains(times, 8)
    assert all(len(member.linked_at) == len(dict(member.linked_at)) for member in members)
    assert all(member.identity_no not in member.linked_at for member in members)
    assert all(-1 not in member.linked_at for member in members)


def test_what_is_known_of_a_large_profile_grows_with_its_members_not_with_their_square() -> None:
    people = 2_000
    tracemalloc.start()
    try:
        members = linked({(0, one): one for one in range(1, people)}, people)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert members[1].linked_at[people - 1] == people - 1
    assert most < 10_000_000, "an entry of each pair takes a hundred times as much"
