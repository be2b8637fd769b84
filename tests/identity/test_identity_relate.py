"""Who is vouched for to whom: links on more than a browser's word, and from there into devices only."""

from __future__ import annotations

from cdp.identity.model import Candidate, Identifier, Pair, Told
from cdp.identity.relate import relate

USER, MAIL, OTHER, PHONE, TABLET = range(1, 6)
TYPES = {USER: "user_id", MAIL: "email", OTHER: "external:crm", PHONE: "anonymous_id", TABLET: "device_id"}


def vouched(*links: tuple[int, int, int, bool]) -> dict[int, dict[int, int]]:
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
    profile = [
        Identifier(identity_no=number, type=kind, device=False, created_at=0, value=b"", first_event_id=b"")
        for number, kind in TYPES.items()
    ]
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
