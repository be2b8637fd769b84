"""The officer's queue: each thing appears in it, and is gone once it is dealt with."""

from __future__ import annotations

from typing import Any

from caller import Caller
from report_world import EMAIL, activate, consent, deliver, identify, people, policy_files
from sqlalchemy import update

from cdp.audit.tables import checkpoints
from cdp.clock import DAY, SECOND, FixedClock
from cdp.crypto.tables import keks


def queue(caller: Caller, limit: int = 500) -> list[dict[str, Any]]:
    """Return the whole queue, in pages of ``limit``."""
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = caller.api("GET", f"/officer/queue?limit={limit}{cursor}")
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = f"&cursor={page['next']}"


def waiting(caller: Caller, kind: str) -> list[dict[str, Any]]:
    return [item for item in queue(caller) if item["kind"] == kind]


def ask(caller: Caller, name: str, kind: str = "access") -> str:
    body = {"identifier": {"type": "user_id", "value": f"user-{name}"}, "kind": kind}
    return str(caller.api("POST", "/rights/requests", body)["id"])


def test_nothing_waits_in_an_empty_installation(caller: Caller) -> None:
    found = caller.api("GET", "/officer/queue")
    assert (found["items"], found["next"], found["kinds"]) == ([], None, {})
    assert found["severities"] == {"late": 0, "soon": 0, "ok": 0}
    assert caller.api("GET", "/audit?action=officer.queue")["items"]


def test_requests_are_ok_then_soon_then_late_as_the_list_of_requests_has_it(
    caller: Caller, clock: FixedClock
) -> None:
    caller.send(identify("ada"))
    made = ask(caller, "ada", "rectification")
    for days in (0, 8, 8):
        clock.advance(days * DAY)
        (item,) = waiting(caller, "rights_request")
        (listed,) = caller.api("GET", f"/rights/requests?due={item['severity']}")["items"]
        assert item["name"] == listed["id"] == made
    assert "show" in item["do"]
    clock.advance(30 * DAY)
    assert waiting(caller, "rights_request")[0]["severity"] == "late"
    caller.api("POST", f"/rights/requests/{made}/cancel")
    assert waiting(caller, "rights_request") == []


def test_the_most_urgent_stands_first_and_pages_meet(caller: Caller, clock: FixedClock) -> None:
    caller.send(*(identify(f"p{number}") for number in range(7)))
    for number in range(7):
        ask(caller, f"p{number}", "rectification")
        clock.advance(3 * DAY)
    caller.api("POST", "/destinations/adnet/switch", {"enabled": False, "reason": "test"})
    activate(caller, {"destinations/crm.yaml": ("2030-12-31", "2026-03-01")})
    whole = queue(caller)
    assert [item for item in queue(caller, 1) if item["kind"] != "log_unsigned"] == [
        item for item in whole if item["kind"] != "log_unsigned"
    ]
    assert {item["severity"] for item in whole} == {"late", "soon", "ok"}
    order = [("late", "soon", "ok").index(item["severity"]) for item in whole]
    assert order == sorted(order)
    for severity in ("late", "soon", "ok"):
        times = [item["due"] or item["since"] for item in whole if item["severity"] == severity]
        assert times == sorted(times)
    page = caller.api("GET", "/officer/queue?limit=2")
    assert sum(page["severities"].values()) == sum(page["kinds"].values()) == len(whole)
    assert page["kinds"]["rights_request"] == 7


def test_late_recalls_wait_until_they_are_acknowledged(caller: Caller, clock: FixedClock) -> None:
    key = deliver(caller, "ada", "bea")
    consent(caller, "ada", "withdrawn")
    while not caller.services.outbox.counts("mailer"):
        caller.services.outbox.issue()
    assert waiting(caller, "late_recalls") == []
    clock.advance(25 * 3600 * SECOND)
    (item,) = waiting(caller, "late_recalls")
    assert (item["name"], item["severity"]) == ("mailer", "late")
    assert "1 recalls of 1 people" in item["what"]
    ids = [one["id"] for one in caller.api("GET", "/destinations/mailer/recalls", key=key)["items"]]
    caller.api("POST", "/destinations/mailer/acknowledgements", {"ids": ids}, key=key)
    assert waiting(caller, "late_recalls") == []


def test_contracts_wait_before_and_after_they_end(caller: Caller) -> None:
    for ends, severity in (("2026-03-20", "soon"), ("2026-02-28", "late"), ("2026-03-01", "soon")):
        activate(caller, {"destinations/mailer.yaml": ("2030-12-31", ends)})
        (item,) = waiting(caller, "contract")
        assert (item["name"], item["severity"]) == ("mailer", severity), ends
    activate(caller, {})
    assert waiting(caller, "contract") == []


def test_a_notice_that_changed_waits_while_consents_rest_on_the_old_one(caller: Caller) -> None:
    people(caller, "ada", "bea")
    assert waiting(caller, "stale_notice") == []
    before = "  marketing.communications.email_plain:\n"
    notice = "{id: email-news, version: 2, in_force_from: 2026-02-01, material: true, text: {en: New.}}"
    activate(caller, {"purposes.yaml": (before, f"      - {notice}\n{before}")})
    caller.services.deriving.settle()
    (item,) = waiting(caller, "stale_notice")
    assert (item["name"], item["what"][:10]) == (EMAIL, "2 consents")
    for name in ("ada", "bea"):
        consent(caller, name, notice_id="email-news", notice_version=2)
    assert waiting(caller, "stale_notice") == []


def test_what_lies_in_quarantine_waits_until_it_is_destroyed(caller: Caller, clock: FixedClock) -> None:
    caller.send({"type": "track", "messageId": "m1", "event": "Seen"})
    (item,) = waiting(caller, "quarantine")
    assert (item["name"], item["severity"], item["due"]) == (
        "tracker_protocol_violation",
        "ok",
        "2026-04-01T00:00:00Z",
    )
    assert "1 messages in quarantine" in item["what"]
    clock.advance(25 * DAY)
    assert waiting(caller, "quarantine")[0]["severity"] == "soon"


def test_a_proposal_and_a_switch_wait_for_a_decision(caller: Caller) -> None:
    files = policy_files(caller)
    files["destinations/crm.yaml"] = files["destinations/crm.yaml"].replace("2030-12-31", "2031-12-31")
    first, second = caller.officer("first"), caller.officer("second")
    made = caller.api("POST", "/policies/activate", {"files": files}, key=first)["proposal"]["id"]
    (item,) = waiting(caller, "proposal")
    assert item["do"] == f"cdp policy activate --approve {made}"
    caller.api("POST", "/policies/activate", {"approve": made}, key=second)
    assert waiting(caller, "proposal") == []
    for enabled in (False, True):
        body = {"enabled": enabled, "reason": "suspected_breach"}
        caller.api("POST", "/destinations/adnet/switch", body)
        found = waiting(caller, "destination_off")
        assert [one["name"] for one in found] == ([] if enabled else ["adnet"])
    assert found == []


def test_a_log_that_does_not_sign_waits(caller: Caller, clock: FixedClock) -> None:
    services = caller.services
    services.audit.sign_checkpoint(services.committer)
    with services.committer.batch() as batch:  # its newest checkpoint says something else: it signs no other
        newest = services.audit.latest_checkpoint(batch.connection)
        assert newest is not None
        batch.connection.execute(
            update(checkpoints).where(checkpoints.c.size == newest.size).values(root=bytes(32))
        )
    caller.api("GET", "/officer/queue")
    clock.advance(301 * SECOND)
    (item,) = waiting(caller, "log_unsigned")
    assert item["severity"] == "late"
    with services.committer.batch() as batch:
        batch.connection.execute(
            update(checkpoints).where(checkpoints.c.size == newest.size).values(root=newest.root)
        )
    services.audit.sign_checkpoint(services.committer)
    assert waiting(caller, "log_unsigned") == []


def test_a_rotation_waits_while_it_is_not_through(caller: Caller, clock: FixedClock) -> None:
    rotation = caller.services.rotation
    rotation.begin("key:1")
    while rotation.advance():
        pass
    assert waiting(caller, "key_rotation") == []
    with caller.services.keyring.store.writing() as connection, connection.begin():
        rows = update(keks).where(keks.c.version == 1)
        connection.execute(rows.values(rewrapped_at=None, worker=1, worked_at=clock.now() + 9 * DAY))
    (item,) = waiting(caller, "key_rotation")
    assert (item["name"], item["severity"]) == ("1", "ok")
    clock.advance(DAY + 1)
    assert waiting(caller, "key_rotation")[0]["severity"] == "late"
