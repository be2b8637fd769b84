"""Clocks of hosts and clients that are wrong, and what is told when: on both stores."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_world import DEVICE, EMAIL, MAIL, START, USER, World, draft, statement

from cdp.clock import DAY, SECOND
from cdp.consent import RESTRAINING, Statement

WHO = (USER, MAIL, DEVICE)
PURPOSES = (EMAIL, "marketing.communications", "marketing")
STEP = st.fixed_dictionaries(
    {
        "host": st.integers(-3 * DAY, 3 * DAY),
        "client": st.sampled_from([0, 0, -DAY, DAY, 1000 * DAY]),
        "state": st.sampled_from(["granted", "granted", "refused", "withdrawn", "objected", "opted_out"]),
        "act": st.booleans(),
        "purpose": st.sampled_from(PURPOSES),
        "who": st.sampled_from(range(3)),
        "kind": st.sampled_from(["server", "server", "browser", "import"]),
    }
)
_NUMBERS = iter(range(1000, 10**6, 3))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, min_size=1, max_size=6))
def test_whatever_the_clocks_do_a_restraint_told_last_holds(
    world: World, steps: list[dict[str, Any]]
) -> None:
    first = next(_NUMBERS)
    numbers = (first, first + 1, first + 2)
    world.relink({first: numbers})
    clock, told = START, []
    for step in steps:
        clock += step["host"]
        said = statement(step["state"], clock + step["client"], act=step["act"], purpose=step["purpose"])
        who = numbers[step["who"]]
        world.say(draft(said, named=(who,), received_at=clock, source_kind=step["kind"]))
        told.append(said)
        held = {purpose: world.state(first, purpose) for purpose in PURPOSES}
        for purpose in PURPOSES:
            if _last(told, purpose) in RESTRAINING:
                assert held[purpose] != "granted"
    with world.store.reading() as connection:
        records = world.ledger.records_of(connection, numbers)
    instants = [record.received_at for record in sorted(records, key=lambda record: record.record_id)]
    assert instants == sorted(instants), "what was told later was received later"


def _last(told: list[Statement], purpose: str) -> str:
    """Return the last word about a purpose: its own, or a restraint of one above it."""
    spoken = [
        said.state
        for said in told
        if said.purpose == purpose or (purpose.startswith(said.purpose + ".") and said.state in RESTRAINING)
    ]
    return spoken[-1] if spoken else ""


def test_a_clock_that_steps_back_loses_no_withdrawal(world: World) -> None:
    world.say(draft(statement("granted")))
    world.say(draft(statement("withdrawn", START - DAY), received_at=START - DAY))
    assert world.state() == "withdrawn"


def test_what_a_host_that_was_ahead_left_behind_outranks_no_later_restraint(world: World) -> None:
    ahead = START + 30 * DAY
    world.say(draft(statement("granted", ahead), received_at=ahead))
    world.say(draft(statement("withdrawn", START + 1), named=(MAIL,), received_at=START + 1))
    assert world.state() == "withdrawn"


@pytest.mark.parametrize(("later", "state"), [(29 * DAY, "withdrawn"), (31 * DAY, "granted")])
def test_a_restraint_of_a_host_that_was_ahead_is_lifted_once_time_has_passed_it(
    world: World, later: int, state: str
) -> None:
    world.say(draft(statement("withdrawn", START), received_at=START + 30 * DAY))
    world.say(draft(statement("granted", START + later), received_at=START + later))
    assert world.state() == state


def test_two_messages_of_one_instant_are_told_one_after_the_other(world: World) -> None:
    world.say(draft(statement("granted")), draft(statement("withdrawn")), draft(statement("granted")))
    assert world.state() == "withdrawn", "the grant's own time is not later than the withdrawal"
    said = [(r.received_at - START) for r in world.records() if r.identity_no == USER]
    assert said == [0, 1, 2]


def test_a_grant_dated_ahead_gains_nothing(world: World) -> None:
    world.say(draft(statement("granted", START + 900 * DAY)))
    world.say(draft(statement("withdrawn", START + SECOND), received_at=START + SECOND))
    assert world.state() == "withdrawn"
