"""Rotation through the front door: while events come in, audited, by admins only; housekeeping of buckets."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from caller import Caller
from sqlalchemy import create_engine, text

from cdp import app
from cdp.clock import DAY, FixedClock
from cdp.ingest import Delivery
from cdp.settings import Settings
from cdp.worker import Periodic


def wait_for(caller: Caller, *states: str) -> Any:
    """Wait until the worker has brought the versions into these states."""
    for _ in range(600):
        found = caller.api("GET", "/keyring")
        if [version["state"] for version in found["versions"]] == list(states):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def identify(number: int) -> dict[str, Any]:
    return {
        "type": "identify",
        "userId": f"u{number}",
        "messageId": f"m{number}",
        "traits": {"email": f"user-{number}@mail.example"},
    }


def test_the_kek_is_rotated_while_events_come_in(caller: Caller, clock: FixedClock) -> None:
    caller.send(*(identify(number) for number in range(50)))
    before = caller.api("GET", "/keyring")
    assert (before["current"], before["answers"]) == (1, True)
    assert before["versions"][0]["deks"] == {"person": 100, "proof": 100}
    begun = caller.api("POST", "/keyring/rotate", expect=202)
    assert begun["current"] == 2
    for number in range(50, 80):
        caller.send(identify(number))
    done = wait_for(caller, "retired", "current")
    assert done["versions"][0]["deks"] == {}
    assert done["versions"][1]["deks"] == {"person": 160, "proof": 160}
    assert done["versions"][0]["destroy_at"] == "2026-03-31T12:00:00Z"
    clock.advance(30 * DAY)
    wait_for(caller, "destroyed", "current")
    caller.services.keyring.observe_epoch(-1)  # nothing from memory
    for number in (0, 49, 50, 79):
        assert caller.lookup("user_id", f"u{number}")["id"]
    services = caller.services
    with services.store.reading() as connection:
        sealed = services.identity.find(connection, "email", "user-3@mail.example")
    assert sealed is not None
    assert len(services.keyring.deks([sealed])) == 1
    actions = [item["action"] for item in caller.api("GET", "/audit")["items"]]
    assert {"keys.rotate", "keys.rotated", "keys.destroy"} <= set(actions)
    assert actions.count("keys.rotate") == 1


def test_two_rotations_at_once_are_a_conflict(caller: Caller) -> None:
    caller.services.rotation.advance = lambda: False  # type: ignore[method-assign]  # no worker now
    caller.services.rotation.begin("key:1")
    caller.api("POST", "/keyring/rotate", expect=409)


def test_only_admins_rotate_and_only_they_and_officers_look(caller: Caller) -> None:
    for role, look, rotate in (("admin", 200, 202), ("officer", 200, 403), ("marketer", 403, 403)):
        body = {"name": role, "roles": [role], "purposes": ["*"]}
        key = caller.api("POST", "/keys", body)["key"]
        caller.api("GET", "/keyring", key=key, expect=look)
        caller.api("POST", "/keyring/rotate", key=key, expect=rotate)


def test_housekeeping_ends_the_quarantine_with_its_key(settings: Settings, clock: FixedClock) -> None:
    platform = app.build(settings, clock)
    source, _ = platform.services.access.create_source("system", "shop", "server")

    def refuse() -> None:
        delivery = Delivery(source=source, messages=(b"{}",), received_at=clock.now())
        assert platform.writer.write([delivery]).quarantined == 1

    refuse()
    clock.advance(20 * DAY)
    refuse()
    clock.advance(11 * DAY)
    tasks = [task for task in platform.worker._tasks if isinstance(task, Periodic)]
    house = next(task for task in tasks if task._name == "housekeeping")
    house._work()
    house._work()
    assert len(platform.services.quarantine.items()) == 1
    platform.close()
    engine = create_engine(settings.keys_database)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT bucket, wrapped IS NULL FROM bucket_keys ORDER BY 1")).all()
    engine.dispose()
    assert [(name, bool(gone)) for name, gone in rows] == [
        ("quarantine/2026-03-01", True),
        ("quarantine/2026-03-21", False),
    ]


def test_a_server_that_starts_goes_on_with_a_rotation(settings: Settings) -> None:
    chosen = msgspec.structs.replace(settings)
    platform = app.build(chosen)
    platform.services.keyring.create(range(1, 20))
    platform.services.rotation.begin("key:1")
    platform.close()
    again = app.build(chosen)
    again.worker.start()
    for _ in range(200):
        if [version.state for version in again.services.rotation.status().versions] == ["retired", "current"]:
            break
        time.sleep(0.05)
    else:
        raise AssertionError
    again.worker.stop()
    again.close()
