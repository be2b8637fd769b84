"""Blast radius: whom a breach of a destination, a key, a source or a period reaches."""

from __future__ import annotations

from caller import Caller
from report_world import EMAIL, GONE, activate, consent, deliver, export, fetch, identify, people, report

from cdp.clock import DAY, SECOND, FixedClock


def known(caller: Caller, **scope: str) -> int:
    return int(report(caller, "blast-radius", **scope)["people"]["known"])


def test_a_destination_reaches_whoever_was_delivered_to_it(caller: Caller) -> None:
    deliver(caller, "ada", "bea")
    people(caller, "cyd")
    made = report(caller, "blast-radius", destination="mailer")
    assert made["people"]["known"] == 2
    assert made["jurisdictions"] == [{"jurisdiction": "EU", "people": 2}]
    (sent,) = made["where_sent"]
    assert (sent["destination"], sent["purpose"], sent["people"]) == ("mailer", EMAIL, 2)
    what = {row["name"]: row for row in made["what"]}
    assert (what["trait:email"]["left_as"], what["trait:email"]["kept"]) == (["clear"], "sealed")
    assert what["trait:user_id"]["left_as"] == ["pseudonymise"]
    assert what["trait:country"]["chosen_by"]
    assert [row["people"] for row in made["held_now"]] == [2]
    assert known(caller, destination="adnet") == 0


def test_the_clock_runs_from_when_it_was_noticed(caller: Caller) -> None:
    made = report(caller, "blast-radius", destination="mailer", noticed_at="2026-02-28T12:00:00Z")
    assert made["clock"]["notify_authority_by"] == "2026-03-03T12:00:00Z"
    assert made["clock"]["hours_left"] == 48
    path = "/reports/blast-radius?destination=mailer&noticed_at=2026-03-02T12:00:00Z"
    caller.api("GET", path, expect=400)


def test_a_key_reaches_what_it_fetched_and_whom_it_looked_at(caller: Caller) -> None:
    mailer = deliver(caller, "ada", "bea")
    people(caller, "cyd")
    other = caller.destination_key("mailer", EMAIL)
    (name, idle) = sorted(
        (key["name"] for key in caller.api("GET", "/keys")["items"] if key["name"].startswith("mailer-")),
        key=lambda name: known(caller, key=name),
        reverse=True,
    )
    assert (known(caller, key=name), known(caller, key=idle)) == (2, 0)
    assert mailer != other
    steward = caller.officer("stella", roles=("steward",))
    profile = caller.api(
        "POST", "/profiles/lookup", {"type": "user_id", "value": "user-cyd"}, purpose="rights", key=steward
    )["id"]
    body = {"fields": ["email"], "purpose": "rights", "reason": "customer_request"}
    caller.api("POST", f"/profiles/{profile}/reveal", body, key=steward)
    made = report(caller, "blast-radius", key="stella")
    assert made["people"]["known"] == 1
    assert {row["action"] for row in made["looked_at"]} == {"profile.lookup", "profile.reveal"}
    assert [(row["name"], row["shown_as"]) for row in made["what"]] == [("trait:email", ["clear"])]
    assert made["where_sent"] == []


def test_a_source_reaches_whoever_it_told_of_and_where_that_went_since(caller: Caller) -> None:
    caller.send(identify("ann"), kind="import", wait=True)
    consent(caller, "ann")
    deliver(caller, "bea")
    made = report(caller, "blast-radius", source="test-import")
    assert made["people"]["known"] == 1
    assert (made["received"]["events"], made["received"]["in_quarantine"]) == (1, 0)
    what = {row["name"]: row for row in made["what"]}
    assert what["trait:email"]["received_times"] == 1
    assert [row["people"] for row in made["where_sent"]] == [1], "of the two who were delivered"
    assert known(caller, source="test-import", destination="mailer") == 1
    assert known(caller, source="test-import", destination="adnet") == 0


def test_a_period_alone_reaches_whatever_left_in_it(caller: Caller, clock: FixedClock) -> None:
    key = deliver(caller, "ada")
    clock.advance(2 * DAY)
    people(caller, "bea")
    fetch(caller, key, export(caller)["id"])
    assert known(caller, from_="2026-03-01", to="2026-03-02") == 1
    assert known(caller, from_="2026-03-03") == 2
    assert known(caller, from_="2026-03-01", to="2026-03-02", destination="mailer") == 1
    assert known(caller, from_="2026-03-02", to="2026-03-03", destination="mailer") == 0


def test_recalls_say_whether_they_were_acknowledged(caller: Caller, clock: FixedClock) -> None:
    key = deliver(caller, "ada", "bea")
    consent(caller, "ada", "withdrawn")
    while not caller.services.outbox.counts("mailer"):
        caller.services.outbox.issue()
    clock.advance(25 * 3600 * SECOND)
    (told,) = report(caller, "blast-radius", destination="mailer")["told_to_remove"]
    assert (told["state"], told["late"], told["people"]) == ("queued", True, 1)
    (message,) = caller.api("GET", "/destinations/mailer/recalls", key=key)["items"]
    caller.api("POST", "/destinations/mailer/acknowledgements", {"ids": [message["id"]]}, key=key)
    (told,) = report(caller, "blast-radius", destination="mailer")["told_to_remove"]
    assert (told["state"], told["late"]) == ("acknowledged", False)


def test_people_are_listed_for_a_purpose_and_it_is_on_record_about_each(caller: Caller) -> None:
    deliver(caller, "ada", "bea", "cyd")
    path = "/reports/blast-radius/people?destination=mailer&limit=2"
    caller.api("GET", path, expect=400)
    first = caller.api("GET", path, purpose="compliance_review")
    rest = caller.api("GET", f"{path}&cursor={first['next']}", purpose="compliance_review")
    found = [item["profile"] for page in (first, rest) for item in page["items"]]
    assert sorted(found) == sorted(
        caller.lookup("user_id", f"user-{name}")["id"] for name in ("ada", "bea", "cyd")
    )
    assert rest["next"] is None
    uses = caller.api("GET", f"/profiles/{found[0]}/uses?limit=100", purpose="compliance_review")["items"]
    (listed,) = (use for use in uses if use["action"] == "report.people")
    assert listed["purpose"] == "compliance_review"
    caller.api("GET", path, purpose=EMAIL, expect=403)


def test_a_destination_that_is_gone_from_the_policies_can_still_be_asked_about(caller: Caller) -> None:
    deliver(caller, "ada")
    activate(caller, GONE)
    made = report(caller, "blast-radius", destination="mailer")
    assert made["people"]["known"] == 1
    assert [row["declared"] for row in made["where_sent"]] == [False]


REFUSED = [
    ("destination=nobody", 404),
    ("key=nobody", 404),
    ("source=nobody", 404),
    ("source=%3Cb%3E%E2%80%AE", 404),
    ("", 400),
    ("to=2026-03-01", 400),
    ("from=2026-03-02&to=2026-03-01", 400),
    ("from=2026-03-01&to=2026-03-01", 400),
    ("from=2027-01-01", 400),
    ("from=0001-01-01&to=2026-03-01", 400),
    ("from=yesterday", 400),
    ("destination=mailer&noticed_at=soon", 400),
]


def test_what_cannot_be_asked_is_refused(caller: Caller) -> None:
    for query, status in REFUSED:
        problem = caller.api("GET", f"/reports/blast-radius?{query}", expect=status)
        assert "nobody" not in str(problem), query


def test_only_officers_ask(caller: Caller) -> None:
    key = caller.officer("mark", roles=("marketer",))
    for path in ("reports/processing", "reports/blast-radius?from=2026-01-01", "reports/notices"):
        caller.api("GET", f"/{path}", key=key, expect=403)
    caller.api("GET", "/officer/queue", key=key, expect=403)
