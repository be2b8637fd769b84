"""Clocks: of events of one instant the order of receipt counts; the server's own clock may jump."""

from __future__ import annotations

from caller import Caller

from cdp.clock import SECOND, FixedClock

PURPOSE = "data_quality"
AT = "2026-03-01T11:00:00Z"


def test_of_events_of_one_instant_the_one_received_last_is_the_newest(
    caller: Caller, clock: FixedClock
) -> None:
    names = [f"Step {number}" for number in range(8)]
    for name in names:
        caller.send({"type": "track", "event": name, "messageId": name, "userId": "u1", "timestamp": AT})
        clock.advance(SECOND)
    path = f"/profiles/{caller.lookup('user_id', 'u1')['id']}/events?limit=3"
    found, cursor = [], ""
    while cursor is not None:
        page = caller.api("GET", path + (f"&cursor={cursor}" if cursor else ""), purpose=PURPOSE)
        found += [event["name"] for event in page["items"]]
        cursor = page["next"]
    assert found == names[::-1]
