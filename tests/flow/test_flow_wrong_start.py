"""A server that starts with a wrong clock, which is set right while it runs or while it is down."""

from __future__ import annotations

from contextlib import closing

import msgspec
import pytest
from platform_fixtures import NOW

from cdp import app
from cdp.app import Platform
from cdp.clock import DAY, SECOND, FixedClock, Micros, rfc3339
from cdp.ingest import Delivery
from cdp.pipeline import Outcome
from cdp.settings import Settings
from cdp.worker import Periodic

HOUR = 3600 * SECOND
STAMP = rfc3339(NOW - HOUR)
EMAIL = "marketing.communications.email"
CONSENT = "Segment Consent Preference Updated"


class Server:
    """A platform whose every task takes its turn."""

    def __init__(self, platform: Platform) -> None:
        self.platform, self.services = platform, platform.services
        if not self.services.access.list_sources():
            self.services.access.create_source("system", "shop", "server")
        (self._source,) = self.services.access.list_sources()

    def send(self, message_id: str, **said: object) -> Outcome:
        message = {"type": "track", "event": "Seen", "messageId": message_id, **said}
        delivery = Delivery(
            source=self._source,
            messages=(msgspec.json.encode(message),),
            received_at=self.services.clock.now(),
        )
        return self.platform.writer.write([delivery])

    def consents(self, message_id: str, *, yes: bool) -> None:
        context = {"consent": {"categoryPreferences": {"Email": yes}}}
        assert self.send(message_id, userId="u1", context=context, event=CONSENT).records

    def state(self) -> str:
        with self.services.store.reading() as connection:
            (found,) = self.services.ledger.states(connection, EMAIL).values()
        return found.state

    def turns(self) -> None:
        """Have every task take its turn: none fails, and nothing that is kept for a time is gone."""
        for task in self.platform.worker._tasks:
            if isinstance(task, Periodic):
                task._work()
        assert len(self.services.quarantine.items()) == 1
        with self.services.store.reading() as connection:
            assert self.services.audit.verify(connection).problems == ()


@pytest.mark.parametrize("wrong", [HOUR, DAY, -DAY], ids=["an hour ahead", "a day ahead", "a day behind"])
def test_a_server_that_started_with_a_wrong_clock_loses_nothing_when_it_is_set_right(
    settings: Settings, clock: FixedClock, wrong: Micros
) -> None:
    clock.jump(wrong)
    with closing(app.build(settings, clock)) as platform:
        server = Server(platform)
        assert server.send("m1", userId="u1", timestamp=STAMP).stored == 1
        assert server.send("bad").quarantined == 1
        server.consents("yes", yes=True)
        server.turns()
        assert server.state() == "granted"
        clock.jump(-wrong)
        clock.advance(SECOND)
        server.turns()
        assert server.send("m1", userId="u1", timestamp=STAMP).duplicates == 1
        server.consents("no", yes=False)
        assert server.state() == "withdrawn", "a no counts, though the yes was received later by the clock"
    clock.jump(wrong)  # and wrong again, and set right while the server is down
    with closing(app.build(settings, clock)) as platform:
        Server(platform).turns()
    clock.jump(-wrong)
    clock.advance(SECOND)
    with closing(app.build(settings, clock)) as platform:
        server = Server(platform)
        server.turns()
        assert server.send("m1", userId="u1", timestamp=STAMP).duplicates == 1
        assert server.state() == "withdrawn"
        clock.advance(
            max(wrong, SECOND)
        )  # who was refused by a clock ahead stays so until then (docs/consent.md)
        server.consents("yes again", yes=True)
        assert server.state() == "granted"
        clock.advance(26 * DAY)
        server.turns()
