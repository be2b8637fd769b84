"""What a backup does not know and no journal enables: it withholds, and what was turned down stays so."""

from __future__ import annotations

from pathlib import Path

import pytest
from caller import Caller
from recovery_world import EMAIL, backed_up, identify, lost, number_of, restored, running, say

from cdp.clock import SECOND, FixedClock
from cdp.settings import Settings


def informed(caller: Caller, name: str) -> bool:
    """Return whether the gate takes it that somebody was given the notice in force."""
    services = caller.services
    number = number_of(caller, name)
    assert number is not None
    with services.store.reading() as connection:
        profile_no = services.identity.profile_of(connection, number)
        return profile_no in services.ledger.standings(connection, EMAIL, [profile_no]).informed()


def inform(caller: Caller, name: str) -> None:
    said = {
        "identifiers": [{"type": "user_id", "value": name}],
        "purpose": EMAIL,
        "state": "informed",
        "method": "mail",
    }
    caller.api("POST", "/consents", said)


def test_a_notice_given_after_the_backup_counts_for_nothing_until_it_is_given_again(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        for name in ("ann", "ben"):
            identify(caller, name)
        inform(caller, "ben")
        backed_up(caller, tmp_path / "backup")
        clock.advance(SECOND)
        inform(caller, "ann")
        assert [informed(caller, name) for name in ("ann", "ben")] == [True, True]
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert [informed(after, name) for name in ("ann", "ben")] == [False, True]
        inform(after, "ann")
        assert informed(after, "ann")


@pytest.fixture
def changed(settings: Settings) -> dict[str, str]:
    folder = settings.policies_dir
    files = {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.yaml"))
        if "tests" not in path.parts
    }
    return {**files, "destinations/mailer.yaml": files["destinations/mailer.yaml"] + "# laxer\n"}


def test_a_proposal_that_was_rejected_stays_rejected(
    settings: Settings, clock: FixedClock, tmp_path: Path, changed: dict[str, str]
) -> None:
    other = {**changed, "destinations/mailer.yaml": changed["destinations/mailer.yaml"] + "# and laxer\n"}
    with running(settings, clock) as caller:
        first, second = caller.officer("first"), caller.officer("second")
        bad, open_still = (
            caller.api("POST", "/policies/activate", {"files": files}, key=first)["proposal"]["sha256"]
            for files in (changed, other)
        )
        backed_up(caller, tmp_path / "backup")
        caller.services.policies.reject(caller.services.access.principal(second), bad)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert [one.sha256 for one in after.services.policies.overview().proposals] == [open_still]
        after.api("POST", "/policies/activate", {"approve": bad}, key=second, expect=404)
        assert after.services.recovery.done.ended == 1


def test_a_message_acknowledged_after_the_backup_stops_no_destination_from_reading(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    """Its key was destroyed when it was acknowledged, so what the backup brings back nobody can open."""
    with running(settings, clock) as caller:
        for name in ("ann", "ben"):
            traits = {"email": f"{name}@people.example", "country": "Germany"}
            caller.send({"type": "identify", "userId": name, "traits": traits}, wait=True)
            say(caller, name, True, 1)
        where = {"all": [{"trait": "country", "op": "eq", "value": "Germany"}]}
        caller.api("PUT", "/segments/germans", {"name": "germans", "where": where})
        asked = {"segment": "germans", "destination": "mailer", "purpose": EMAIL}
        export = caller.api("POST", "/exports", asked)
        key = caller.destination_key("mailer", EMAIL)
        headers = {"Authorization": f"Bearer {key}"}
        assert caller.http.get(f"/api/v1/exports/{export['id']}/data", headers=headers).status_code == 200
        clock.advance(SECOND)
        say(caller, "ann", False, 2)
        caller.services.outbox.issue()
        (told,) = caller.api("GET", "/destinations/mailer/recalls", key=key)["items"]
        backed_up(caller, tmp_path / "backup")
        caller.api("POST", "/destinations/mailer/acknowledgements", {"ids": [told["id"]]}, key=key)
        clock.advance(SECOND)
        say(caller, "ben", False, 2)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        after.services.outbox.issue()
        (message,) = after.api("GET", "/destinations/mailer/recalls", key=key)["items"]
        assert message["id"] != told["id"]  # who withdrew since is recalled
