"""A host's clock that was ahead: an act told before a link answers for nobody whom the link adds."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller

from cdp.clock import DAY, SECOND, FixedClock

EMAIL = "marketing.communications.email"


def act(message_id: str, *, agreed: bool, **whose: str) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "messageId": message_id,
        "context": {"consent": {"categoryPreferences": {"Email": agreed}}},
        **whose,
    }


@pytest.mark.parametrize(("again", "state"), [(False, "withdrawn"), (True, "granted")])
def test_an_act_of_a_clock_that_was_ahead_is_older_than_a_link_made_after_it(
    caller: Caller, clock: FixedClock, *, again: bool, state: str
) -> None:
    clock.advance(10 * DAY)
    caller.send(act("m1", agreed=True, userId="ann"))
    clock.advance(-10 * DAY)
    caller.send(act("m2", agreed=False, anonymousId="phone"))
    clock.advance(SECOND)
    caller.send({"type": "identify", "messageId": "m3", "userId": "ann", "anonymousId": "phone"})
    if again:
        clock.advance(SECOND)
        caller.send(act("m4", agreed=True, userId="ann"))
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, "user_id", "ann")
        assert number is not None
        profile_no = services.identity.profile_of(connection, number)
        assert len(services.identity.members(connection, profile_no)) == 2
        assert services.ledger.states(connection, EMAIL)[profile_no].state == state
