"""What is past its period goes: whole events, values cut out of clear and sealed parts, observations."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from caller import Caller

from cdp.clock import DAY, FixedClock
from cdp.crypto import Place, open_sealed
from cdp.ingest import timeline
from cdp.rights import Retention

ADDRESS = "203.0.113.77"
BOOKS, MARKETING = 3650, 1095


KEEP = Retention.keep


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs begin and go on when a test says so."""
    monkeypatch.setattr(Retention, "keep", lambda _: None)


def told(caller: Caller) -> None:
    """One person of whom something of each kind is known."""
    context = {"ip": ADDRESS, "userAgent": "Browser 1"}
    caller.send(
        {"type": "identify", "messageId": "i", "userId": "ada", "traits": {
            "email": "ada.lovelace@example.org", "country": "France", "plan": "gold"}, "context": context},
        {"type": "track", "messageId": "v", "userId": "ada", "event": "Product Viewed",
         "properties": {"name": "Shoe"}, "context": context},
        {"type": "track", "messageId": "o", "userId": "ada", "event": "Order Completed",
         "properties": {"revenue": 12.5}, "context": context},
    )  # fmt: skip


def run(caller: Caller, *, dry: bool) -> dict[str, Any]:
    """Begin a run and have it end."""
    begun = caller.api("POST", "/retention/runs", {"dry_run": dry})
    services = caller.services
    for _ in range(100):
        services.retention.advance()
        found: dict[str, Any] = caller.api("GET", f"/retention/runs/{begun['id']}")
        if found["state"] != "running":
            return found
    raise AssertionError(found)


def finish(retention: Retention) -> None:
    while retention.advance():
        pass


def whole(caller: Caller) -> dict[str, Any]:
    """Run dry, and then for good."""
    dry = run(caller, dry=True)
    done = run(caller, dry=False)
    assert dry["counts"] == done["counts"], "the dry run said what goes"
    return done


def kept(caller: Caller) -> dict[str, dict[str, Any]]:
    """Return name of an event → all that is kept of it, opened."""
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, "user_id", "ada")
        assert number is not None
        rows = [
            (row.name, row.event_id, row.properties, row.sealed)
            for row in timeline(connection, [number], 9, None)
        ]
    key = services.keyring.deks([number])[number]
    prefix = Place(services.settings.workspace, "events", "sealed").prefix()
    found = {}
    for name, event_id, properties, sealed in rows:
        opened = {}
        if sealed is not None:
            opened = msgspec.json.decode(open_sealed(key, prefix, bytes(event_id), number, bytes(sealed)))
        found[name] = {**msgspec.json.decode(properties or "{}"), "sealed": opened}
    return found


def traits(caller: Caller) -> set[str]:
    profile = caller.lookup("user_id", "ada")["id"]
    return set(caller.api("GET", f"/profiles/{profile}", purpose="compliance_review")["traits"])


def test_each_value_goes_after_the_period_of_its_category(caller: Caller, clock: FixedClock) -> None:
    told(caller)
    clock.advance(179 * DAY)
    assert whole(caller)["counts"] == {}
    clock.advance(DAY)  # an address of the network: half a year
    assert whole(caller)["counts"] == {"values.ip-addresses": 3}
    found = kept(caller)
    assert all("ip" not in event["sealed"].get("context", {}) for event in found.values())
    assert found["Order Completed"]["revenue"] == 12.5
    assert "Browser 1" in str(found["Order Completed"]["sealed"]), "its neighbour is sealed as before"
    clock.advance(210 * DAY)  # browsing: 13 months, of two periods the shorter one
    done = whole(caller)
    assert done["counts"] == {"events.browsing-for-advertising": 1}
    assert kept(caller).keys() == {"identify", "Order Completed"}
    caller.services.mirror.refresh()
    assert count(caller, {"event": "Product Viewed"}) == 0
    assert count(caller, {"event": "Order Completed"}) == 1
    clock.advance((MARKETING - 390) * DAY)  # the contact goes, the order stays for the books
    assert whole(caller)["counts"] == {"traits.contact-for-marketing": 1}
    assert "email" not in traits(caller)
    assert kept(caller)["Order Completed"]["revenue"] == 12.5
    clock.advance((BOOKS - MARKETING) * DAY)
    assert whole(caller)["counts"]["events.purchases-for-the-books"] == 1


def count(caller: Caller, leaf: dict[str, Any]) -> int:
    answer = caller.api("POST", "/segments/preview", {"name": "x", "where": {"all": [leaf]}})
    return int(answer["count"])


def test_a_shorter_law_binds_whom_it_binds(caller: Caller, clock: FixedClock) -> None:
    told(caller)
    caller.send({"type": "identify", "messageId": "w", "userId": "wei", "traits": {
        "country": "China", "plan": "gold"}})  # fmt: skip
    clock.advance(MARKETING * DAY)
    counts = whole(caller)["counts"]
    assert counts["traits.everything-in-china"] == 2
    assert "plan" in traits(caller), "no period is declared for it elsewhere"


def test_nothing_is_deleted_that_nobody_looked_at_before(caller: Caller, clock: FixedClock) -> None:
    told(caller)
    clock.advance(200 * DAY)
    caller.api("POST", "/retention/runs", {"dry_run": False}, expect=409)
    dry = run(caller, dry=True)
    assert (dry["dry_run"], dry["counts"]) == (True, {"values.ip-addresses": 3})
    assert kept(caller)["Order Completed"]["sealed"]["context"]["ip"] == ADDRESS
    caller.api("POST", "/retention/runs", {"dry_run": True})
    caller.api("POST", "/retention/runs", {"dry_run": False}, expect=409)  # one at a time


def test_it_is_repeated_each_day_once_an_officer_began_it(caller: Caller, clock: FixedClock) -> None:
    told(caller)
    retention = caller.services.retention
    run(caller, dry=True)
    clock.advance(2 * DAY)
    KEEP(retention)
    assert len(caller.api("GET", "/retention/runs")["items"]) == 1, "a dry run begins nothing"
    run(caller, dry=False)
    clock.advance(180 * DAY)
    KEEP(retention)
    finish(retention)
    newest = caller.api("GET", "/retention/runs")["items"][0]
    assert (newest["begun_by"], newest["state"]) == ("system", "done")
    assert newest["counts"] == {"values.ip-addresses": 3}
    clock.jump(400 * DAY)
    for _ in range(2):  # a jump that lasts for a day is believed
        KEEP(retention)
        clock.advance(DAY)
    finish(retention)
    clock.jump(-400 * DAY)
    before = len(caller.api("GET", "/retention/runs")["items"])
    KEEP(retention)
    assert len(caller.api("GET", "/retention/runs")["items"]) == before + 1, "the last one is of a time ahead"


def test_a_hold_keeps_what_it_covers_until_it_is_lifted(caller: Caller, clock: FixedClock) -> None:
    told(caller)
    body = {
        "identifier": {"type": "email", "value": "ada.lovelace@example.org"},
        "categories": ["user.device"],
        "reason": "regulator",
        "reference": "AZ-17/4",
    }
    placed = caller.api("POST", "/legal-holds", body)
    clock.advance(400 * DAY)
    assert whole(caller)["counts"] == {"events.browsing-for-advertising": 1, "held": 2}
    assert kept(caller)["Order Completed"]["sealed"]["context"]["ip"] == ADDRESS
    assert [hold["id"] for hold in caller.api("GET", "/legal-holds")["items"]] == [placed["id"]]
    caller.api("POST", f"/legal-holds/{placed['id']}/lift")
    caller.api("POST", f"/legal-holds/{placed['id']}/lift", expect=409)
    assert caller.api("GET", "/legal-holds")["items"] == []
    assert len(caller.api("GET", "/legal-holds?lifted=true")["items"]) == 1
    clock.advance(DAY)
    assert whole(caller)["counts"] == {"values.ip-addresses": 2}, "the next run, also within the month"


@pytest.mark.parametrize(
    "wrong",
    [
        {"reference": "=cmd()"},
        {"reference": ""},
        {"reference": "a" * 61},
        {"reference": "../../etc"},
        {"categories": ["user.nothing"]},
        {"reason": "because"},
        {"identifier": {"type": "nothing", "value": "x"}},
    ],
)
def test_a_hold_says_why_in_words_of_ours(caller: Caller, wrong: dict[str, Any]) -> None:
    body = {"reason": "legal_claim", "reference": "C-1", **wrong}
    caller.api("POST", "/legal-holds", body, expect=400)
    assert caller.api("GET", "/legal-holds?lifted=true")["items"] == []


def test_a_hold_on_nobody_is_refused_and_on_record(caller: Caller) -> None:
    nobody = {"identifier": {"type": "user_id", "value": "nobody"}, "reason": "other", "reference": "C-1"}
    caller.api("POST", "/legal-holds", nobody, expect=404)
    failed = caller.api("GET", "/audit?action=hold.place&outcome=failed")["items"]
    assert len(failed) == 1


def test_who_is_a_minor_stays_one(caller: Caller, clock: FixedClock) -> None:
    caller.send(
        {"type": "identify", "messageId": "m", "userId": "ada", "traits": {
            "country": "China", "birthday": "2012-01-01", "plan": "gold"}}
    )  # fmt: skip
    clock.advance(MARKETING * DAY)
    whole(caller)
    assert "birthday" in traits(caller) | masked(caller), "2029: 17 years old"
    clock.advance(365 * DAY)
    whole(caller)
    assert "birthday" not in traits(caller) | masked(caller)


def masked(caller: Caller) -> set[str]:
    profile = caller.lookup("user_id", "ada")["id"]
    return set(caller.api("GET", f"/profiles/{profile}", purpose="compliance_review")["masked_fields"])


def test_the_counts_are_in_the_log_and_no_person(caller: Caller, clock: FixedClock) -> None:
    told(caller)
    clock.advance(200 * DAY)
    done = whole(caller)
    entries = caller.api("GET", "/audit?action=retention.end&limit=1")["items"]
    assert entries[0]["object"]["run"] == done["id"]
    assert entries[0]["counts"] == {"values.ip-addresses": 3}
    assert entries[0]["people"] == {"identities": "<10"}


def test_a_run_goes_on_in_another_process_and_loses_nothing(
    caller: Caller, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp.rights.retention.look._PAGE", 2)
    for number in range(7):
        caller.send({"type": "track", "messageId": f"p{number}", "userId": f"u{number}",
                     "event": "Product Viewed", "properties": {"name": "Shoe"}})  # fmt: skip
    clock.advance(400 * DAY)
    run(caller, dry=True)
    retention = caller.services.retention
    begun = caller.api("POST", "/retention/runs", {"dry_run": False})
    killed: Callable[..., Any] = retention._store
    calls = 0

    def store(*given: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return bool(killed(*given))

    monkeypatch.setattr(retention, "_store", store)
    with pytest.raises(KeyboardInterrupt):
        finish(retention)
    monkeypatch.setattr(retention, "_store", killed)
    monkeypatch.setattr(retention, "_mine", -1)  # as another process would see it
    assert retention.advance() is False, "whoever began may still be at it"
    clock.advance(DAY // 24)
    finish(retention)
    found = caller.api("GET", f"/retention/runs/{begun['id']}")
    assert (found["state"], found["counts"]) == ("done", {"events.browsing-for-advertising": 7})


def test_commands(
    caller: Caller, clock: FixedClock, shell: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retention, "keep", KEEP)
    told(caller)
    clock.advance(200 * DAY)
    caller.http.__exit__()  # the commands start the platform by themselves
    assert "cdp retention run --dry-run" in shell("retention", "run", expect=1)
    assert "would go" in shell("retention", "run", "--dry-run")
    ran = msgspec.json.decode(shell("retention", "run", "--json"))
    assert (ran["state"], ran["dry_run"]) == ("done", False)
    listed = msgspec.json.decode(shell("retention", "status", "--json"))
    assert [(one["id"] == ran["id"], one["state"]) for one in listed] == [(True, "done"), (False, "done")]
    monkeypatch.setattr("sys.stdin", io.StringIO("ada.lovelace@example.org\n"))
    place = ("hold", "place", "C-1", "--reason", "tax_audit", "--json")
    placed = msgspec.json.decode(shell(*place, "--type", "email"))
    assert placed["categories"] == ["user"]
    shell(*place, expect=2)
    assert placed["id"] in shell("hold", "list")
    assert "lifted" in shell("hold", "lift", placed["id"])
    assert placed["id"] not in shell("hold", "list")
    assert placed["id"] in shell("hold", "list", "--lifted")
