"""The states of some profiles, as they follow from the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from cdp.clock import Micros
from cdp.consent import queries
from cdp.consent.model import Member, Record, Standing
from cdp.consent.rules import Rules
from cdp.consent.states import queries as states
from cdp.store import Connection


def derive(
    connection: Connection,
    rules: Rules,
    members: Mapping[int, Sequence[Member]],
    now: Micros,
    only: Collection[str] | None = None,
) -> dict[tuple[int, str], Standing]:
    """Return (profile_no, purpose) → state, one profile after the other.

    :param members: profile_no → its members.
    :param only: these purposes; all when None.
    """
    numbers = [member.identity_no for profile in members.values() for member in profile]
    of_identity: dict[int, list[Record]] = defaultdict(list)
    for record in queries.records_of(connection, numbers, decisive=True):
        of_identity[record.identity_no].append(record)
    return {
        (profile_no, state.purpose): state
        for profile_no, profile in members.items()
        for state in rules.standings(
            profile, [r for member in profile for r in of_identity.get(member.identity_no, ())], now, only
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
) -> None:
    """Store the states of some purposes as they are now, and forget those of profiles that are gone.

    :param batch: what is noted at the rows that differ; others are not touched.
    :param members: profile_no → its members.
    """
    derived = derive(connection, rules, members, now, purposes)
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
