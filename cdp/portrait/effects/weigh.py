"""What a merge or a split means for the people it is about: counts and states, never a value.

Read inside the change's own transaction, before it and after it, so a plan says what is and what will be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
from pyroaring import BitMap

from cdp.consent import ConsentLedger
from cdp.gate import Gate
from cdp.identity import Plan
from cdp.portrait.effects.queries import facts_of
from cdp.store import Connection


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One profile, before a change or after it.

    :param traits: how many different traits are known of it; ``events`` how many events.
    :param consents: purpose → state.
    """

    identities: tuple[int, ...]
    events: int
    traits: int
    consents: dict[str, str]


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """A destination that holds people whom the change is about, and is told what it means for them.

    :param segment: as members of which; None where the policies do not let it be seen of these people.
    :param references: under how many ``profile_ref`` it holds them.
    """

    destination: str
    purpose: str
    segment: str | None
    references: int


class Relinked(msgspec.Struct, frozen=True, kw_only=True):
    """A plan and what it means: profile_no → that profile, before and after."""

    plan: Plan
    before: dict[int, Side]
    after: dict[int, Side]
    holders: tuple[Holder, ...]


def sides(
    connection: Connection, ledger: ConsentLedger, people: Mapping[int, Sequence[int]]
) -> dict[int, Side]:
    """Return what is known of profiles as they are now.

    :param people: profile_no → its identities.
    :raises UnavailableError: consent is being derived under other policies.
    """
    counts, names = facts_of(connection, [number for numbers in people.values() for number in numbers])
    return {
        no: Side(
            identities=tuple(numbers),
            events=sum(counts.get(number, 0) for number in numbers),
            traits=len({name for number in numbers for name in names.get(number, ())}),
            consents={purpose: one.state for purpose, one in ledger.kept_states(connection, no).items()},
        )
        for no, numbers in people.items()
    }


def holders(
    connection: Connection, gate: Gate, people: Mapping[int, Sequence[int]], shown: Callable[[str], bool]
) -> tuple[Holder, ...]:
    """Return who holds these people.

    :param shown: returns whether it may be seen that they are in a segment.
    """
    identities = BitMap(number for numbers in people.values() for number in numbers)
    return tuple(
        Holder(
            destination=audience.destination,
            purpose=audience.purpose,
            segment=audience.segment if shown(audience.segment) else None,
            references=len(anchors),
        )
        for audience, anchors in gate.deliveries.held(connection, identities)
    )
