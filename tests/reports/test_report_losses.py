"""Audience loss: why people were withheld, exact for officers, and for marketers as they were told before."""

from __future__ import annotations

from caller import Caller
from report_world import EMAIL, GERMANS, arrive, consent, deliver, export, identify, report

from cdp.clock import DAY, FixedClock


def test_reasons_are_those_of_the_newest_decision_of_each_piece(caller: Caller, clock: FixedClock) -> None:
    deliver(caller, "ada", "bea")
    arrive(caller, "cyd")
    export(caller)
    clock.advance(DAY)
    consent(caller, "ada", "withdrawn")
    export(caller)
    rows = report(caller, "audience-loss")["audiences"]
    assert [(row["when"], row["decisions"], row["members"], row["released"]) for row in rows] == [
        ("2026-03-01", 2, 3, 2),
        ("2026-03-02", 1, 3, 1),
    ]
    assert sum(rows[0]["withheld"].values()) == 1
    assert rows[1]["withheld"]["withdrawn"] == 1
    assert [row["deliveries"] for row in rows] == [1, 0]
    (whole,) = report(caller, "audience-loss", by="month")["audiences"]
    assert (whole["when"], whole["decisions"], whole["withheld"]) == ("2026-03", 3, rows[1]["withheld"])
    weeks = report(caller, "audience-loss", by="week")["audiences"]
    assert [row["when"] for row in weeks] == ["2026-W09", "2026-W10"]
    assert report(caller, "audience-loss", destination="adnet")["audiences"] == []


def test_recalls_and_whole_refusals_are_told(caller: Caller) -> None:
    deliver(caller, "ada", "bea")
    consent(caller, "ada", "withdrawn")
    while not caller.services.outbox.counts("mailer"):
        caller.services.outbox.issue()
    for _ in range(2):
        body = {"segment": "germans", "destination": "crm", "purpose": EMAIL}
        caller.api("POST", "/exports", body, expect=403)
    made = report(caller, "audience-loss")
    (row,) = made["audiences"]
    assert (row["recalled"], sum(row["recall_reasons"].values())) == (1, 1)
    (refused,) = made["refused_whole"]
    assert (refused["destination"], refused["times"]) == ("crm", 2)
    assert refused["reason"]


def test_a_marketer_sees_what_they_asked_for_with_the_figures_of_then(caller: Caller) -> None:
    said = {"context": {"consent": {"categoryPreferences": {"Email": True}}}}
    caller.send(*({**identify(f"p{number}"), **said} for number in range(250)), wait=True)
    caller.api("PUT", "/segments/germans", GERMANS)
    export(caller)
    key = caller.officer("mark", roles=("marketer",))
    mine = caller.api(
        "POST", "/exports", {"segment": "germans", "destination": "mailer", "purpose": EMAIL}, key=key
    )
    made = caller.api("GET", "/reports/audience-loss", key=key)
    (row,) = made["audiences"]
    assert (made["exact"], row["decisions"]) == (False, 1)
    shown = {name: row[name] for name in ("members", "released", "withheld")}
    assert shown == {name: mine[name] for name in shown}
    assert not {"skipped_while_fetched", "recalled", "deliveries"} & row.keys()
    assert "refused_whole" not in made
    assert caller.api("GET", "/reports/audience-loss", key=key)["audiences"] == made["audiences"]
    caller.api("GET", "/reports/audience-loss", key=caller.officer("stella", roles=("steward",)), expect=403)


def test_more_days_than_anybody_reads_are_refused(caller: Caller) -> None:
    caller.api("GET", "/reports/audience-loss?from=2024-01-01&by=day", expect=400)
    assert report(caller, "audience-loss", from_="2024-01-01", by="month")["audiences"] == []
    caller.api("GET", "/reports/audience-loss?by=hour", expect=400)
