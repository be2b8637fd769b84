"""Consent on its way in: nothing that happens around a refusal makes it weaker."""

from __future__ import annotations

import shutil
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from caller import Caller

from cdp import app
from cdp.access import Principal, Source
from cdp.clock import SECOND, FixedClock
from cdp.errors import UnavailableError
from cdp.ingest import Delivery
from cdp.policy import read_folder
from cdp.settings import Settings

EMAIL = "marketing.communications.email"
SHOP = Source(source_id=1, name="shop", kind="server", enabled=True)


def preference(message_id: str, agreed: bool, **fields: Any) -> dict[str, Any]:  # noqa: FBT001  # reads as said
    return {
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "messageId": message_id,
        "context": {"consent": {"categoryPreferences": {"Email": agreed}}},
        **fields,
    }


def state(caller: Caller, kind: str, value: str) -> str:
    profile = caller.lookup(kind, value)
    found = caller.api("GET", f"/profiles/{profile['id']}/consents", purpose="compliance_review")["items"]
    return next(str(item["state"]) for item in found if item["purpose"] == EMAIL)


def stored_state(caller: Caller, kind: str, value: str) -> str:
    """What the gate goes by: the derived state, not a fresh reading of the ledger."""
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, kind, value)
        assert number is not None
        profile_no = services.identity.profile_of(connection, number)
        standing = services.ledger.states(connection, EMAIL).get(profile_no)
    return "none" if standing is None else standing.state


def test_an_act_made_while_apart_does_not_lift_what_the_other_said(caller: Caller, clock: FixedClock) -> None:
    caller.send(preference("m1", agreed=False, userId="ann"))
    clock.advance(SECOND)
    caller.send({"type": "identify", "messageId": "m2", "userId": "ann", "anonymousId": "browser"})
    clock.advance(SECOND)
    profile = caller.lookup("anonymous_id", "browser")
    identifiers = caller.api("GET", f"/profiles/{profile['id']}/identifiers", purpose="data_quality")["items"]
    browser = next(item["id"] for item in identifiers if item["type"] == "anonymous_id")
    caller.api("POST", f"/profiles/{browser}/split", {"dry_run": False}, purpose="data_quality")
    clock.advance(SECOND)
    caller.send(preference("m3", agreed=True, anonymousId="browser"))
    clock.advance(SECOND)
    ids = [caller.lookup("user_id", "ann")["id"], caller.lookup("anonymous_id", "browser")["id"]]
    caller.api("POST", "/profiles/merge", {"ids": ids, "dry_run": False}, purpose="data_quality")
    assert caller.lookup("user_id", "ann")["id"] == caller.lookup("anonymous_id", "browser")["id"]
    assert state(caller, "user_id", "ann") == "withdrawn"
    assert stored_state(caller, "user_id", "ann") == "withdrawn"


def test_a_replayed_link_is_no_older_than_its_replay(caller: Caller, clock: FixedClock) -> None:
    caller.send(preference("m1", agreed=False, userId="ann"))
    link = {"type": "identify", "messageId": "m2", "userId": "ann", "anonymousId": "browser"}
    caller.send({**link, "timestamp": "2026-03-03T12:00:00Z"})  # two days ahead: quarantined
    clock.advance(SECOND)
    caller.send(preference("m3", agreed=True, anonymousId="browser"))
    clock.advance(5 * 86_400 * SECOND)
    caller.api("POST", "/quarantine/replay", {})
    assert state(caller, "user_id", "ann") == "withdrawn"


def test_a_withdrawal_from_a_clock_that_runs_ahead_counts(caller: Caller) -> None:
    caller.send(preference("m1", agreed=True, userId="ann"))
    assert state(caller, "user_id", "ann") == "granted"
    caller.send(preference("m2", agreed=False, userId="ann", timestamp="2031-01-01T00:00:00Z"))
    assert state(caller, "user_id", "ann") == "withdrawn"


def test_a_grant_dated_1970_does_not_lift_a_withdrawal(caller: Caller) -> None:
    caller.send(preference("m1", agreed=False, userId="ann"))
    caller.send(preference("m2", agreed=True, userId="ann", timestamp="1970-01-01T00:00:00Z"))
    assert state(caller, "user_id", "ann") == "withdrawn"


def test_a_material_notice_makes_stored_grants_stale_before_anything_is_served(
    settings: Settings, tmp_path: Path
) -> None:
    message = msgspec.json.encode(preference("m1", agreed=True, userId="ann"))
    policies = tmp_path / "policies"
    shutil.copytree(settings.policies_dir, policies)
    settings = msgspec.structs.replace(settings, policies_dir=policies, four_eyes=False)
    with closing(app.build(settings)) as platform:
        now = platform.services.clock.now()
        platform.writer.write([Delivery(source=SHOP, messages=(message,), received_at=now)])
        assert _states(platform) == ["granted"]
    file = policies / "purposes.yaml"
    text = file.read_text(encoding="utf-8")
    after = "  marketing.communications.email_plain:\n"
    later = """      - id: email-news
        version: 2
        in_force_from: 2099-01-01
        material: true
        text: {en: We would also like to hand your address to our friends.}
"""
    assert text.count(after) == 1
    file.write_text(text.replace(after, later + after), encoding="utf-8")
    with closing(app.build(settings)) as platform:
        assert _states(platform) == ["granted"]  # the folder is a candidate, nothing more
        verbs, held = platform.services.policies, platform.services.bundle
        files = read_folder(policies)
        officer = Principal(key_id=1, name="officer", roles=frozenset({"officer"}))
        proposal = verbs.propose(officer, verbs.check(files), files, held.sha256, {}, {})
        verbs.approve(officer, proposal.sha256)
        assert platform.services.bundle != held
        with platform.services.store.reading() as connection, pytest.raises(UnavailableError):
            platform.services.ledger.check_derived(connection)
    with closing(app.build(settings)) as platform:
        assert _states(platform) == ["stale"]


def _states(platform: app.Platform) -> list[str]:
    services = platform.services
    with services.store.reading() as connection:
        return [standing.state for standing in services.ledger.states(connection, EMAIL).values()]


def test_who_speaks_waits_for_who_links(settings: Settings) -> None:
    message = msgspec.json.encode(preference("m1", agreed=True, userId="ann"))
    refusal = msgspec.json.encode(preference("m2", agreed=False, userId="ann"))
    with closing(app.build(settings)) as platform:
        services = platform.services
        now = services.clock.now()
        platform.writer.write([Delivery(source=SHOP, messages=(message,), received_at=now)])
        delivery = Delivery(source=SHOP, messages=(refusal,), received_at=now)
        speaking = threading.Thread(target=platform.writer.write, args=([delivery],))
        with services.committer.batch() as batch:
            number = services.identity.find(batch.connection, "user_id", "ann")
            assert number is not None
            services.identity.lock(batch.connection, [number])
            speaking.start()
            speaking.join(timeout=0.5)
            assert speaking.is_alive()
        speaking.join(timeout=30)
        assert _states(platform) == ["withdrawn"]


def test_a_caller_who_gave_up_does_not_stop_the_writer(settings: Settings) -> None:
    with closing(app.build(settings)) as platform:
        message = msgspec.json.encode({"type": "track", "event": "Order Completed", "userId": "ann"})
        delivery = Delivery(source=SHOP, messages=(message,), received_at=platform.services.clock.now())
        platform.writer.start()
        for _ in range(20):
            platform.writer.submit(delivery).cancel()
        assert platform.writer.submit(delivery).result(timeout=30).commit_no > 0
        platform.writer.stop()


def test_a_merge_that_the_rules_refuse_leaves_nothing_behind(caller: Caller) -> None:
    caller.send(
        {"type": "identify", "messageId": "m1", "userId": "ann", "traits": {"email": "ann@mail.example"}},
        {"type": "identify", "messageId": "m2", "userId": "bob"},
    )
    ids = [caller.lookup("user_id", "ann")["id"], caller.lookup("user_id", "bob")["id"]]
    body = {"ids": ids, "dry_run": False}
    for _ in range(2):
        caller.api("POST", "/profiles/merge", body, purpose="data_quality", expect=409)
    identifiers = caller.api("GET", f"/profiles/{ids[0]}/identifiers", purpose="data_quality")["items"]
    mail = next(item["id"] for item in identifiers if item["type"] == "email")
    caller.api("POST", f"/profiles/{mail}/split", {"dry_run": False}, purpose="data_quality")
    apart = {caller.lookup(*who)["id"] for who in (("user_id", "ann"), ("user_id", "bob"))}
    assert len(apart) == 2
    assert caller.lookup("email", "ann@mail.example")["id"] not in apart


@pytest.mark.parametrize("size", [5000])
def test_a_batchs_context_is_not_multiplied_without_bound(caller: Caller, size: int) -> None:
    body = {"batch": [{"type": "track", "event": "x", "userId": "u"}] * 100, "context": {"note": "x" * size}}
    content = msgspec.json.encode({**body, "writeKey": caller.write_key()})
    assert caller.http.post("/v1/batch", content=content).status_code == 400
