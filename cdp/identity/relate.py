"""relate: what consent must know of the members of a profile. Pure.

Invariants:

1. Two members are linked since the moment at which the last of the links between them was accepted, never
   since their evidence was seen.
2. A member came with those that its own first event named, by links that stand; not with whoever they were
   linked to, then or later.
3. A member is vouched for to another along links that a server, an import or a steward told, since when they
   told them. An unsigned browser's word leads to devices only, and from there to no person: what sends an
   identifier of a device is as much that device as anything can show, but anybody can type an address.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from heapq import heapify, heappop, heappush

from cdp.clock import Micros
from cdp.consent import Member
from cdp.identity.chains import Chains, Later, Linked
from cdp.identity.model import Candidate, Pair, Seen, Told


def relate(
    profile: Sequence[Seen],
    seen: Iterable[Candidate],
    since: Mapping[Pair, Sequence[Told]],
    is_device: Callable[[str], bool],
) -> list[Member]:
    """Return the members of one profile, each with the time at which it became linked to each other.

    :param seen: candidates that stand, of these identities and others.
    :param since: pair → when its link was accepted, on whose word: the first time first.
    """
    numbers = {item.identity_no for item in profile}
    devices = {item.identity_no for item in profile if is_device(item.type)}
    standing = [c for c in seen if c.pair in since and numbers.issuperset(c.pair)]
    verified = {(c.pair, c.event_id) for c in standing if c.verified}
    guessed = {(c.pair, c.event_id) for c in standing if c.origin == "match"}
    accepted: dict[Pair, Micros] = {}
    vouched: dict[Pair, Micros] = {}
    into: dict[int, list[tuple[int, Micros]]] = defaultdict(list)
    for pair, told in since.items():
        if numbers.issuperset(pair):
            accepted[pair] = told[0][0]
            sure = next((at for at, event_id in told if (pair, event_id) in verified), None)
            if sure is not None:
                vouched[pair] = sure
            heard = next((at for at, event_id in told if (pair, event_id) not in guessed), None)
            for one, other in (pair, pair[::-1]):
                if other in devices and heard is not None:
                    into[one].append((other, heard))
    linked = Chains(numbers, accepted)
    known = linked if vouched == accepted else Chains(numbers, vouched)
    named: dict[bytes, dict[int, bool]] = defaultdict(dict)
    for candidate in standing:
        named[candidate.event_id].update(dict.fromkeys(candidate.pair, candidate.verified))
    nobody: dict[int, bool] = {}

    def came_with(item: Seen) -> dict[int, bool]:
        found = named.get(item.first_event_id, nobody)
        return found if item.identity_no in found else nobody

    def vouched_to(number: int) -> Mapping[int, Micros]:
        own = Linked(known, number)
        return own if known is linked else Later(partial(_with_devices, number, own, into))

    return [
        Member(
            identity_no=item.identity_no,
            device=item.identity_no in devices,
            linked_at=Linked(linked, item.identity_no),
            vouched_at=vouched_to(item.identity_no),
            came_with=came_with(item),
            seen_at=item.created_at,
        )
        for item in profile
    ]


def _with_devices(
    start: int, known: Mapping[int, Micros], into: Mapping[int, Sequence[tuple[int, Micros]]]
) -> dict[int, Micros]:
    """Return who else is vouched for to ``start`` → since when, devices included (3).

    :param known: those vouched for without a browser's word.
    :param into: identity_no → the devices that it is linked to, since when.
    """
    found = dict(known)
    done = {start}
    waiting = [
        (max(since, at), device)
        for one, since in ((start, 0), *known.items())
        for device, at in into.get(one, ())
    ]
    heapify(waiting)
    while waiting:  # the chain that was whole first comes first
        since, device = heappop(waiting)
        if device not in done:
            done.add(device)
            found[device] = min(since, found.get(device, since))
            for other, at in into.get(device, ()):
                heappush(waiting, (max(since, at), other))
    return found
