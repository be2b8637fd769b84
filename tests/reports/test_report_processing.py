"""Records of processing: what was done, and where that and what is declared differ."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785
from caller import Caller
from report_world import EMAIL, GONE, activate, deliver, export, people, policy_files, report

from cdp.clock import DAY, FixedClock

SHOE = {"type": "track", "event": "Order Completed", "userId": "user-ada", "messageId": "m-shoe"}
DECLARED = ("\nproperties:\n", "\nproperties:\n  shoe_size: {category: user.behavior.purchase_history}\n")


def unused(caller: Caller, kind: str) -> list[str]:
    found = report(caller, "processing")["declared_but_unused"][kind]
    assert isinstance(found, list)
    return found


def undeclared(caller: Caller, kind: str) -> Any:
    return report(caller, "processing")["used_but_undeclared"][kind]


def test_a_purpose_is_recorded_with_what_was_done_for_it(caller: Caller) -> None:
    deliver(caller, "ada", "bea")
    made = report(caller, "processing")
    (email,) = (one for one in made["activities"] if one["purpose"] == EMAIL)
    assert {(row["jurisdiction"], row["basis"]) for row in email["legal_bases"]} >= {
        ("all others", "consent")
    }
    (mailer,) = email["recipients"]
    assert (mailer["destination"], mailer["role"], mailer["country"]) == ("mailer", "processor", "IE")
    assert (mailer["contract_expires"], mailer["contract_over"]) == ("2030-12-31", False)
    assert (mailer["decisions"], mailer["deliveries"]) == (1, 1)
    assert mailer["people"] == email["people_reached"] == "<10", "a record is given out of the house"
    data = {row["name"]: row for row in email["data"]}
    assert data["trait:email"]["how"] == ["clear"]
    assert data["trait:email"]["kept"] == "sealed"
    assert data["trait:country"]["how"] == ["generalise", "read"]
    assert email["people"] == ["members of the segment germans"]
    assert email["sources"] == ["test-server"]
    assert [row["days"] for row in email["retention"]] == sorted(row["days"] for row in email["retention"])
    assert {row["measure"] for row in made["security"]} >= {"storage", "log", "root of the keys"}
    assert "members of the segment" not in str(
        [one for one in made["activities"] if one["purpose"] == "segmentation"]
    )


def test_as_many_as_may_be_named_are_named(caller: Caller) -> None:
    deliver(caller, *(f"p{number}" for number in range(12)))
    (email,) = (one for one in report(caller, "processing")["activities"] if one["purpose"] == EMAIL)
    assert email["people_reached"] == 12


def test_a_report_names_the_log_that_it_can_be_held_against(caller: Caller) -> None:
    people(caller, "ada")
    made = report(caller, "processing")
    entry = made.pop("entry")
    (logged,) = caller.api("GET", "/audit?action=report.make")["items"]
    assert logged["index"] == entry["index"] >= made["log"]["size"]
    assert logged["object"]["sha256"] == entry["sha256"] == hashlib.sha256(rfc8785.dumps(made)).hexdigest()
    assert logged["object"]["bundle"] == made["bundle"] == caller.services.bundle.sha256
    assert logged["object"]["log_size"] == made["log"]["size"]
    assert {logged["object"]["from"], logged["object"]["to"]} == set(made["period"].values())


def test_only_what_lies_in_the_period_is_recorded(caller: Caller, clock: FixedClock) -> None:
    deliver(caller, "ada")
    clock.advance(2 * DAY)
    assert report(caller, "processing", from_="2026-03-02")["activities"] == []
    assert report(caller, "processing", from_="2026-03-01")["activities"] != []


def test_an_empty_installation_has_an_empty_record(caller: Caller) -> None:
    made = report(caller, "processing")
    assert made["activities"] == []
    assert EMAIL in made["declared_but_unused"]["purposes"]


def test_what_is_declared_and_unused_is_flagged_until_it_is_used(caller: Caller) -> None:
    wanted = {
        "purposes": EMAIL,
        "destinations": "mailer",
        "fields": "trait:email",
        "rules": "email-marketing-opt-in",
    }
    people(caller, "ada")
    assert all(name in unused(caller, kind) for kind, name in wanted.items()), "a consent is no use"
    deliver(caller, "bea")
    assert not any(name in unused(caller, kind) for kind, name in wanted.items())
    assert "adnet" in unused(caller, "destinations")


def test_a_field_that_is_sent_and_not_declared_is_flagged_until_it_is_declared(caller: Caller) -> None:
    caller.send({**SHOE, "properties": {"shoe_size": 41}})
    (found,) = undeclared(caller, "fields")
    assert (found["name"], found["seen"], found["sources"]) == ("shoe_size", 1, ["test-server"])
    activate(caller, {"fields.yaml": DECLARED})
    assert undeclared(caller, "fields") == []


def test_purposes_and_destinations_that_are_not_declared_any_more_are_flagged(caller: Caller) -> None:
    deliver(caller, "ada")
    assert (undeclared(caller, "destinations"), undeclared(caller, "purposes")) == ([], [])
    activate(caller, GONE)
    assert undeclared(caller, "destinations") == ["mailer"]
    (gone,) = (one for one in undeclared(caller, "releases") if one["field"] == "email")
    assert (gone["destination"], gone["as"]) == ("mailer", ["clear"])
    plain = {name: (EMAIL, f"{EMAIL}ing") for name, text in policy_files(caller).items() if EMAIL in text}
    activate(caller, plain)
    assert undeclared(caller, "destinations") == []
    assert undeclared(caller, "purposes") == [EMAIL]
    activate(caller, {})
    assert undeclared(caller, "purposes") == []


def test_a_field_that_left_and_that_no_rule_gives_any_more_is_flagged(caller: Caller) -> None:
    deliver(caller, "ada")
    assert undeclared(caller, "releases") == []
    activate(caller, {"rules/communications.yaml": ("    user.name.first: clear\n", "")})
    assert {one["field"] for one in undeclared(caller, "releases")} == {"first_name"}
    activate(caller, {})
    assert undeclared(caller, "releases") == []


def test_a_decision_that_nobody_fetched_is_no_delivery(caller: Caller) -> None:
    deliver(caller, "ada")
    export(caller)
    (email,) = (one for one in report(caller, "processing")["activities"] if one["purpose"] == EMAIL)
    assert [(one["decisions"], one["deliveries"]) for one in email["recipients"]] == [(2, 1)]
