"""The states of some profiles, as they follow from the ledger."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from cdp.clock import Micros
from cdp.consent import queries
from cdp.consent.model import Member, OnRecord, Standing
from cdp.consent.rules import Rules
from cdp.consent.states import queries as states
from cdp.store import Connection


def derive(
    connection: Connection,
    rules: Rules,
    members: Mapping[int, Sequence[Member]],
    now: Micros,
    only: Collection[str] | None = None,
    told: OnRecord | None = None,
) -> dict[tuple[int, str], Standing]:
    """Return (profile_no, purpose) → state, one profile after the other.

    :param members: profile_no → its members.
    :param only: these purposes; all when None.
    """
    if told is None:
        told = queries.told(connection, (one.identity_no for profile in members.values() for one in profile))
    return {
        (profile_no, state.purpose): state
        for profile_no, profile in members.items()
        for state in rules.standings(
            profile, [r for member in profile for r in told.get(member.identity_no, ())], now, only
        )
    }


def keep(
    connection: Connection,
    batch: int,
    rules: Rules,
    purposes: Collection[str],
    members: Mapping[int, Sequence[Member]],
    gone: Collection[int],
    now: Micros,
    told: OnRecord | None = None,
) -> None:
    """Store the states of some purposes as they are now, and forget those of profiles that are gone.

    :param batch: what is noted at the rows that differ; others are not touched.
    :param members: profile_no → its members.
    :param told: what is on record of all of them, where that was read already.
    """
    derived = derive(connection, rules, members, now, purposes, told)
    wanted = {(no, rules.names[purpose]): state for (no, purpose), state in derived.items()}
    ours = {rules.names[purpose] for purpose in purposes}
    held = {
        (no, name): state
        for (no, name), state in states.states_for(connection, {*members, *gone}).items()
        if name in ours or no not in members
    }
    changed = {key: state for key, state in wanted.items() if held.get(key) != state}
    states.delete_states(connection, [key for key in held if key not in wanted or key in changed])
    states.add_states(connection, batch, [(*key, state) for key, state in changed.items()])
