"""What the journal says of values of version 1 still binds when it is replayed under version 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from caller import Caller
from recovery_world import EMAIL, backed_up, erase, lost, number_of, restored
from version1_world import Upgrade

from cdp.clock import FixedClock
from cdp.recovery import queries
from cdp.settings import Settings

GMAIL = "gmail.com"
CARL = "Carl@people.example"


@pytest.fixture
def upgrade(settings: Settings, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> Upgrade:
    return Upgrade(settings, clock, monkeypatch)


def identify(caller: Caller, browser: str, email: str) -> None:
    message = {"type": "identify", "messageId": browser, "anonymousId": browser, "traits": {"email": email}}
    caller.send(message)


def state(caller: Caller, email: str) -> str:
    services, number = caller.services, number_of(caller, email, "email")
    assert number is not None
    with services.store.reading() as connection:
        profile_no = services.identity.profile_of(connection, number)
        found: Any = services.ledger.states(connection, EMAIL, [profile_no]).get(profile_no)
        return "missing" if found is None else str(found.state)


def withdraw(caller: Caller, email: str) -> None:
    who = {"type": "email", "value": email}
    caller.api("POST", "/consents", {"identifiers": [who], "purpose": EMAIL, "state": "withdrawn"})


def test_who_was_erased_under_version_1_does_not_come_back(
    upgrade: Upgrade, settings: Settings, tmp_path: Path
) -> None:
    with upgrade.before() as caller:
        identify(caller, "home", f"Ann.Lee@{GMAIL}")
        backed_up(caller, tmp_path / "backup")
        erase(caller, f"ann.lee@{GMAIL}", "email")
        identify(caller, "work", f"ben.lee@{GMAIL}")  # after the backup
        erase(caller, f"ben.lee@{GMAIL}", "email")
        identify(caller, "shop", "carl@people.example")  # the same value in both versions
        erase(caller, "carl@people.example", "email")
    lost(settings)
    restored(settings, tmp_path / "backup")
    with upgrade.running() as caller:
        assert caller.services.recovery.done.erased == 1
        for browser, email in (("a", f"Ann.Lee@{GMAIL}"), ("b", f"BEN.LEE@{GMAIL}"), ("d", CARL)):
            identify(caller, browser, email)
            assert number_of(caller, browser, "anonymous_id") is None
        assert not upgrade.advance(caller)
        identify(caller, "c", f"Ann.Lee@{GMAIL}")
        assert number_of(caller, "c", "anonymous_id") is None
        assert number_of(caller, f"annlee@{GMAIL}", "email") is None


def test_a_restraint_of_version_1_waits_for_whoever_arrives_under_version_2(
    upgrade: Upgrade, settings: Settings, tmp_path: Path
) -> None:
    with upgrade.before() as caller:
        identify(caller, "home", f"benlee@{GMAIL}")
        backed_up(caller, tmp_path / "backup")
        identify(caller, "work", f"Ann.Lee@{GMAIL}")
        withdraw(caller, f"ann.lee@{GMAIL}")
    lost(settings)
    restored(settings, tmp_path / "backup")
    with upgrade.running() as caller:
        assert caller.services.recovery.pending
        identify(caller, "work", f"Ann.Lee@{GMAIL}")
        assert state(caller, f"annlee@{GMAIL}") == "withdrawn"
        assert state(caller, f"benlee@{GMAIL}") == "missing"


def test_a_restraint_of_version_2_finds_whom_a_backup_of_version_1_holds(
    upgrade: Upgrade, settings: Settings, tmp_path: Path
) -> None:
    with upgrade.before() as caller:
        identify(caller, "home", f"Ann.Lee@{GMAIL}")
        backed_up(caller, tmp_path / "backup")
    with upgrade.running() as caller:
        assert not upgrade.advance(caller)
        withdraw(caller, f"annlee+x@{GMAIL}")
        assert state(caller, f"ann.lee@{GMAIL}") == "withdrawn"
    lost(settings)
    restored(settings, tmp_path / "backup")
    with upgrade.running() as caller:
        assert state(caller, f"ann.lee@{GMAIL}") == "withdrawn"
        assert not upgrade.advance(caller)
        assert state(caller, f"annlee@{GMAIL}") == "withdrawn"
        with caller.services.store.reading() as connection:
            assert not queries.any_pending(connection)  # nothing is kept for somebody unknown
