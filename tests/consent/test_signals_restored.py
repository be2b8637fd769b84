"""What a consent string took back after a backup is not back after its restore, and nothing else is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import signal_encoder as encode
from caller import Caller
from recovery_world import backed_up, lost, restored, running

from cdp.clock import SECOND, FixedClock
from cdp.journal import Consent
from cdp.settings import Settings

SHARING = "marketing.advertising.third_party"
ADNET = 4093  # the fictional network's vendor id in policies/destinations/adnet.yaml
UPDATED = 17_721_504_000  # 2026-02-27, in tenths of a second


def string(caller: Caller, device: str, number: int, *vendors: int) -> None:
    """Send a page view of a device with a consent string that agrees to these vendors."""
    core = encode.tcf_core(purposes=range(1, 12), consented=encode.vendors(vendors), updated=UPDATED)
    message: dict[str, Any] = {
        "type": "page",
        "messageId": f"{device}-{number}",
        "anonymousId": device,
        "context": {"consent": {"tcfString": core, "gdprApplies": True}},
    }
    caller.send(message, kind="browser")


def recipients(caller: Caller, device: str) -> set[str] | None:
    """Return to whom a device's grant goes; None where there is none."""
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, "anonymous_id", device)
        if number is None:
            return None
        profile_no = services.identity.profile_of(connection, number)
        found = services.ledger.states(connection, SHARING, [profile_no]).get(profile_no)
    return set(found.recipients) if found is not None and found.state == "granted" else None


def test_a_vendor_that_was_taken_back_after_the_backup_stays_out(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        for device in ("b1", "b2"):
            string(caller, device, 1, ADNET)
        backed_up(caller, tmp_path / "backup")
        for step, (device, vendors) in enumerate(
            [("b1", ()), ("b1", (ADNET,)), ("b3", (ADNET,)), ("b3", ())], start=2
        ):
            clock.advance(SECOND)
            string(caller, device, step, *vendors)
        lines = [line for line in caller.services.journal.lines() if isinstance(line, Consent)]
        assert [line.purpose for line in lines].count(
            SHARING
        ) == 2  # the first word of a device costs ingest no flush
        narrowed = recipients(caller, "b1")
        assert narrowed is not None
        assert "adnet" not in narrowed
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert recipients(after, "b1") == narrowed
        assert recipients(after, "b2") == narrowed | {"adnet"}
        assert recipients(after, "b3") is None
        clock.advance(SECOND)
        string(after, "b3", 9, ADNET)  # as new to the platform as any device
        assert recipients(after, "b3") == narrowed | {"adnet"}


def test_a_stamp_that_never_committed_grants_nothing_after_a_restore(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    """Its line is on disk before the commit, so it may be all that there is."""
    with running(settings, clock) as caller:
        caller.send({"type": "page", "messageId": "p", "anonymousId": "b1"}, kind="browser")
        backed_up(caller, tmp_path / "backup")
        clock.advance(SECOND)
        string(caller, "b1", 1, ADNET)
        clock.advance(SECOND)
        string(caller, "b1", 2)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert recipients(after, "b1") is None
        assert after.services.recovery.done.appended == 0
