"""Clocks: of events of one instant the order of receipt counts; the server's own clock may jump."""

from __future__ import annotations

from contextlib import closing

import msgspec
from caller import Caller

from cdp import app
from cdp.clock import DAY, SECOND, FixedClock, SteadyClock, rfc3339
from cdp.ingest import Delivery
from cdp.pipeline import Outcome
from cdp.settings import Settings
from cdp.worker import Periodic

HOUR = 3600 * SECOND
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
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = caller.api("GET", path + (f"&cursor={cursor}" if cursor else ""), purpose=PURPOSE)
        found += [event["name"] for event in page["items"]]
        cursor = page["next"]
    assert found == names[::-1]


def test_a_clock_that_jumps_destroys_nothing_and_stops_nothing(settings: Settings, clock: FixedClock) -> None:
    platform = app.build(settings, clock)
    with closing(platform):
        services = platform.services
        services.access.create_source("system", "shop", "server")
        (source,) = services.access.list_sources()
        tasks = (task for task in platform.worker._tasks if isinstance(task, Periodic))
        (housekeeping,) = (task for task in tasks if task._name == "housekeeping")

        def send(message_id: str, **said: str) -> Outcome:
            message = {"type": "track", "event": "Seen", "messageId": message_id, **said}
            raw = msgspec.json.encode(message)
            return platform.writer.write(
                [Delivery(source=source, messages=(raw,), received_at=services.clock.now())]
            )

        def kept() -> int:
            housekeeping._work()
            services.rotation.advance()
            destroyed.update(one.version for one in services.rotation.status().versions if one.destroyed_at)
            services.audit.sign_checkpoint(services.committer)
            return len(services.quarantine.items())

        destroyed = set[int]()
        services.rotation.begin("system")
        first = {"userId": "u1", "timestamp": rfc3339(clock.now())}
        assert send("m1", **first).stored == 1
        assert send("bad").quarantined == 1
        assert kept() == 1
        for jump in (3 * HOUR, 1000 * DAY, -1000 * DAY - 3 * HOUR, -5 * HOUR, 5 * HOUR):
            clock.jump(jump)
            for _ in range(3):
                clock.advance(HOUR)
                assert kept() == 1
            assert send("m1", **first).duplicates == 1
            assert send(f"after {jump}", userId="u1").stored == 1
        assert destroyed == set()
        clock.advance(40 * DAY)
        assert kept() == 0, "time that passes does end what is kept for a time"
        assert destroyed == {1}
        clock.jump(-40 * DAY)
        assert send("bad again").quarantined == 1, "of a day whose key is destroyed"
        clock.jump(40 * DAY)
        assert kept() == 1
        with services.store.reading() as connection:
            assert services.audit.verify(connection).problems == ()


def test_a_steady_clock_follows_a_jump_that_lasts_and_is_never_ahead() -> None:
    clock = FixedClock(1000 * DAY)
    steady = SteadyClock(clock)
    clock.jump(500 * DAY)
    clock.advance(20 * HOUR)
    assert (steady.now(), steady.sure()) == (1000 * DAY + 20 * HOUR, False)
    clock.jump(-500 * DAY)
    assert (steady.now(), steady.sure()) == (1000 * DAY + 20 * HOUR, True)
    clock.jump(30 * DAY)
    assert not steady.sure()
    clock.advance(DAY)
    assert (steady.now(), steady.sure()) == (clock.now(), True)
    clock.jump(-10 * DAY)
    assert (steady.now(), steady.sure()) == (clock.now(), True)
