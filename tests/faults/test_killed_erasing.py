"""A process that is killed while it erases somebody: the next one goes on, and all is as if nobody had died.

The work is done by processes of which each may commit once more than the one before and is killed then.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import msgspec
from forked import CONTEXT
from sqlalchemy import Engine, event, select

from cdp import app
from cdp.access import Source
from cdp.app import Platform
from cdp.clock import SECOND, FixedClock, Micros, rfc3339
from cdp.identity.tables import identifier_index, identities, profile_members
from cdp.ingest import Delivery
from cdp.ingest.tables import events
from cdp.rights import RightsRequest
from cdp.settings import Settings
from cdp.store import erased

_SOURCE = Source(source_id=1, name="shop", kind="server", enabled=True)
_TURNS = 50


def _work(built: Platform) -> None:
    """Work on requests until none is in progress."""
    services = built.services
    for _ in range(_TURNS):
        services.rights.advance()
        services.mirror.refresh()
        if not any(one.state == "in_progress" for one in services.rights.page("system", 10)):
            return
    raise AssertionError("the work does not end")


def _killed_at_commit(settings: Settings, at: Micros, left: int) -> None:
    """Do the work, and be killed before the transaction ``left`` after the first commits."""
    built = app.build(settings, FixedClock(at))
    try:
        commits = iter(range(left + 1))

        def count(_connection: object) -> None:
            if next(commits, left) == left:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(Engine, "commit", count)
        _work(built)
    finally:
        built.close()


def _killed(settings: Settings, clock: FixedClock, lefts: range) -> int:
    """Have processes work, each killed some commits later, until one is not; returns how many were."""
    for died, left in enumerate(lefts):
        clock.advance(61 * SECOND)  # the lease of who died has run out
        process = CONTEXT.Process(target=_killed_at_commit, args=(settings, clock.now(), left))
        process.start()
        try:
            process.join(timeout=120)
        finally:
            process.kill()
            process.join()
        if process.exitcode != -signal.SIGKILL:
            assert process.exitcode == 0
            return died
    raise AssertionError("the work does not end")


def _known(built: Platform, clock: FixedClock) -> RightsRequest:
    """Have two people come, of whom one asks to be forgotten."""
    for number, name in enumerate(("ann", "ben")):
        said: dict[str, Any] = {"userId": name, "anonymousId": f"device-{name}"}
        body = {"type": "identify", "messageId": f"m{number}", "timestamp": rfc3339(clock.now()), **said}
        body["traits"] = {"email": f"{name}@people.example", "plan": "basic"}
        delivery = Delivery(source=_SOURCE, messages=(msgspec.json.encode(body),), received_at=clock.now())
        assert built.writer.write([delivery]).stored == 1
    services = built.services
    services.mirror.refresh()
    return services.rights.open_for("key:1", ("user_id", "ann"), "erasure")


def test_killed_between_any_two_steps(settings: Settings, clock: FixedClock) -> None:
    built = app.build(settings, clock)
    try:
        request = _known(built, clock)
    finally:
        built.close()
    assert _killed(settings, clock, range(60)) > 5
    built = app.build(settings, clock)
    try:
        services = built.services
        found = services.rights.find("key:1", request.request_id)
        assert found.state == "fulfilled"
        with services.store.reading() as connection:
            gone = erased(connection)
            assert len(gone) == 3
            for table in (identities, identifier_index, profile_members, events):
                held = set(connection.execute(select(table.c.identity_no)).scalars())
                assert held, "of the other"
                assert held.isdisjoint(gone)
            assert services.audit.verify(connection).ok
        assert services.keyring.destroyed(gone) == set(gone)
        made = services.erasure.certificate("key:1", found)
        assert len(made["secrets"]) == 3
        assert made["destroyed"]["events"] == 1
    finally:
        built.close()
