"""Who was erased stays away by what identifies a person; a device that others share keeps nobody out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from caller import Caller
from recovery_world import backed_up, erase, identify, lost, number_of, restored, running

from cdp.clock import FixedClock
from cdp.settings import Settings


def on_tablet(caller: Caller, number: int, user: str | None = None) -> None:
    """Send an event from the tablet that a family shares."""
    message: dict[str, Any] = {
        "type": "track",
        "event": "Product Viewed",
        "messageId": f"tablet-{number}",
        "anonymousId": "family-tablet",
    }
    caller.send(message if user is None else {**message, "userId": user})


def events_of(caller: Caller, kind: str, value: str) -> int:
    """Return how many events stand in the profile of an identifier."""
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, kind, value)
        if number is None:
            return 0
        profile_no = services.identity.profile_of(connection, number)
        return len(services.profiles.timeline(connection, profile_no, 100))


def test_an_erased_device_does_not_swallow_the_events_of_others(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        on_tablet(caller, 1, "ann")
        identify(caller, "ben")
        on_tablet(caller, 2, "ben")
        backed_up(caller, tmp_path / "backup")
        erase(caller, "ann")
        erase(caller, "family-tablet", "anonymous_id")  # it was in her profile
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        before = events_of(after, "user_id", "ben")
        on_tablet(after, 3, "ben")
        on_tablet(after, 4)
        on_tablet(after, 5, "ann")
        assert events_of(after, "user_id", "ben") == before + 2  # the tablet is now his
        assert number_of(after, "ann") is None
        assert events_of(after, "anonymous_id", "family-tablet") == before + 2
