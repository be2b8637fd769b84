"""What stands in a database of a plan of events (``sending.py``), by content: no number of ours is in it.

Two platforms that took the same events stand alike, whatever keys, numbers and order each of them had.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec
from sqlalchemy import text

from benchmarks.sending import EMAIL, SIZE, message, messages, refusing
from cdp.access import Source
from cdp.api import Services
from cdp.audit import AuditFilter
from cdp.ingest import Delivery

SOURCE = "plan"
_AT_ONCE = 500


class Person(NamedTuple):
    """One profile; events by their number in the plan.

    :param traits: (name, the event whose value survives).
    """

    identifiers: frozenset[tuple[str, str]]
    traits: frozenset[tuple[str, int]]
    email: str
    events: frozenset[int]


def source_of(services: Services) -> tuple[Source, str]:
    """Make the source that the plan comes from, and return it with its write key."""
    return services.access.create_source("system", SOURCE, "server")


def store(services: Services, source: Source, calls: Collection[int]) -> None:
    """Store calls of the plan, undisturbed and in their order."""
    encoded = tuple(msgspec.json.encode(one) for one in messages(calls))
    now = services.clock.now()
    for start in range(0, len(encoded), _AT_ONCE):
        told = encoded[start : start + _AT_ONCE]
        services.writer.write([Delivery(source=source, messages=told, received_at=now)])


def times_stored(services: Services, source: Source, calls: Collection[int]) -> Counter[int]:
    """Return how often each event of these calls is stored; what is none of theirs counts as -1."""
    with services.store.reading() as connection:
        stored = [bytes(row[0]) for row in connection.execute(text("SELECT event_id FROM events"))]
    number_of = _numbers(services, source, calls)
    return Counter(number_of.get(event_id, -1) for event_id in stored)


def unrestrained(services: Services, calls: Collection[int]) -> set[str]:
    """Return who refused in these calls, only ever refuses, and does not stand as withdrawn."""
    said = {who for call in calls for number in _events(call) if (who := refusing(number))}
    with services.store.reading() as connection:
        found = {who: services.identity.find(connection, "user_id", who) for who in sorted(said)}
        home = services.identity.profiles_of(connection, [no for no in found.values() if no is not None])
        states = services.ledger.states(connection, EMAIL)
    standing = {who: states.get(home[no]) for who, no in found.items() if no is not None}
    return {who for who in said if (state := standing.get(who)) is None or state.state != "withdrawn"}


def standing(services: Services, source: Source, calls: Collection[int]) -> frozenset[Person]:
    """Return all profiles, of a database that holds these calls of the plan and nothing else."""
    number_of = _numbers(services, source, calls)
    named = {pair for call in calls for number in _events(call) for pair in _identifiers(number)}
    with services.store.reading() as connection:
        found = {pair: services.identity.find(connection, *pair) for pair in sorted(named)}
        everybody = services.identity.everybody(connection)
        home = {number: profile_no for profile_no, numbers in everybody.items() for number in numbers}
        traits = services.profiles.observations(connection, everybody)
        states = services.ledger.states(connection, EMAIL)
        rows = connection.execute(text("SELECT event_id, identity_no FROM events")).all()
    identifiers, events = defaultdict[int, set[tuple[str, str]]](set), defaultdict[int, set[int]](set)
    for pair, number in found.items():
        if number is not None:
            identifiers[home[number]].add(pair)
    for event_id, number in rows:
        events[home[number]].add(number_of[bytes(event_id)])
    survived = defaultdict[int, set[tuple[str, int]]](set)
    for name, held in traits.items():
        for profile_no, observed in held.items():
            survived[profile_no].add((name, number_of[observed.event_id]))
    return frozenset(
        Person(
            frozenset(identifiers[profile_no]),
            frozenset(survived[profile_no]),
            states[profile_no].state if profile_no in states else "",
            frozenset(events[profile_no]),
        )
        for profile_no in everybody
    )


def counted(services: Services) -> Counter[str]:
    """Return the sums of what the audit log says became of events."""
    sums = Counter[str]()
    with services.store.reading() as connection:
        entries = services.audit.search(connection, AuditFilter(action="ingest.batch"), limit=1_000_000)
    for entry in entries:
        sums.update(entry.counts)
    return sums


def _events(call: int) -> range:
    return range(call * SIZE, (call + 1) * SIZE)


def _identifiers(number: int) -> list[tuple[str, str]]:
    made = message(number)
    given: Mapping[str, object] = {
        "user_id": made["userId"],
        "anonymous_id": made.get("anonymousId"),
        "email": made.get("traits", {}).get("email"),
    }
    return [(kind, str(value)) for kind, value in given.items() if value]


def _numbers(services: Services, source: Source, calls: Collection[int]) -> dict[bytes, int]:
    """Return event id → number of the event in the plan."""
    numbers = (number for call in calls for number in _events(call))
    return {services.pipeline.event_id(source, f"m{number}"): number for number in numbers}
