"""``Privacy Notice Shown`` through the door: recorded of a person, shown to officers, and what follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from caller import Caller

from cdp.cli.policy_explain import told
from cdp.policy import read_folder

POLICIES = Path(__file__).parents[2] / "policies"
EMAIL = "marketing.communications.email"
SHOWN = (
    EMAIL,
    "marketing.advertising.first_party",
    "marketing.advertising.third_party",
    "analytics",
)
AFTER = "  marketing.communications.email_plain:\n"
ASKED = {"destination": "mailer", "purpose": EMAIL}
NAMES = ("ann", "bob", "cyd")


def notice(name: str, **more: Any) -> dict[str, Any]:
    """Return the event that tells that somebody was given the notices in force."""
    told = {"type": "track", "event": "Privacy Notice Shown", "messageId": f"n-{name}", "userId": name}
    return {**told, **more}


def later(*, material: bool) -> dict[str, str]:
    """Return the files in force with a second version of the notice."""
    files = american()
    version = (
        "      - id: email-news\n        version: 2\n        in_force_from: 2026-01-01\n"
        f"        material: {str(material).lower()}\n        text: {{en: We would also pass it on.}}\n"
    )
    files["purposes.yaml"] = files["purposes.yaml"].replace(AFTER, version + AFTER, 1)
    return files


def american() -> dict[str, str]:
    """Return the shipped files for a controller in the United States, where an opt-out is enough."""
    files = {name: content.decode() for name, content in read_folder(POLICIES).items()}
    assert "controller: [EU]" in files["jurisdictions.yaml"]
    files["jurisdictions.yaml"] = files["jurisdictions.yaml"].replace("controller: [EU]", "controller: [US]")
    return files


def activate(caller: Caller, files: dict[str, str], number: int) -> Any:
    made = caller.api("POST", "/policies/activate", {"files": files}, key=caller.officer(f"first-{number}"))
    named = {"approve": made["proposal"]["id"]}
    caller.api("POST", "/policies/activate", named, key=caller.officer(f"second-{number}"))
    return made["difference"]


def consents(caller: Caller, name: str) -> dict[str, Any]:
    profile = caller.lookup("user_id", name)["id"]
    found = caller.api("GET", f"/profiles/{profile}/consents", purpose="compliance_review")["items"]
    return {item["purpose"]: item for item in found}


@pytest.fixture
def texans(caller: Caller) -> Caller:
    """Three plainly fictional people under an opt-out law, two given the notice, one of two identities."""
    activate(caller, american(), 0)
    people: list[dict[str, Any]] = [
        {"type": "identify", "messageId": f"i-{name}", "userId": name,
         "traits": {"country": "US", "address": {"state": "TX"}}}
        for name in NAMES
    ]  # fmt: skip
    people[1]["traits"]["email"] = "bob@people.example"
    caller.send(*people, notice("ann"), notice("bob"), wait=True)
    caller.api("PUT", "/segments/texans", {"where": {"trait": "country", "op": "eq", "value": "US"}})
    return caller


def withheld(caller: Caller) -> Any:
    asked = {**ASKED, "segment": "texans", "dry_run": True}
    return caller.api("POST", "/exports", asked)["withheld"]


def explanation(caller: Caller, name: str) -> Any:
    body = {**ASKED, "profile": caller.lookup("user_id", name)["id"]}
    return caller.api("POST", "/policies/explain", body, purpose="compliance_review")


def test_it_is_recorded_for_each_purpose_and_grants_nothing(texans: Caller) -> None:
    found = consents(texans, "ann")
    for purpose in SHOWN:
        assert (found[purpose]["state"], found[purpose]["notice_given"]) == (
            "missing",
            "2026-03-01T12:00:00Z",
        )
    assert found["marketing.communications.sms"]["notice_given"] is None
    assert consents(texans, "cyd").get(EMAIL, {"notice_given": None})["notice_given"] is None
    services = texans.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, "user_id", "ann")
        assert number is not None
        records = services.ledger.records_of(connection, [number])
    assert {one.purpose for one in records if one.state == "informed"} == set(SHOWN)
    newest = next(one for one in records if one.purpose == EMAIL)
    assert (newest.notice_id, newest.notice_version, newest.method) == ("email-news", 1, "event")


def test_what_rests_on_an_opt_out_is_released_to_whom_it_was_shown(texans: Caller) -> None:
    assert withheld(texans) == {"notice_not_given": 1}
    lines = list(told(explanation(texans, "ann")))
    assert "  was given the notice on 2026-03-01T12:00:00Z" in lines
    assert not any("was given the notice" in line for line in told(explanation(texans, "cyd")))
    query = "query($i: DecisionInput!) {explainDecision(input: $i) {outcome consent {state noticeGiven}}}"
    variables = {"i": {**ASKED, "profileId": texans.lookup("user_id", "ann")["id"]}}
    headers = {"Authorization": f"Bearer {texans.operator_key}", "CDP-Purpose": "compliance_review"}
    answer = texans.http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
    assert answer.json()["data"]["explainDecision"] == {
        "outcome": "permitted",
        "consent": {"state": "missing", "noticeGiven": "2026-03-01T12:00:00Z"},
    }


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("browser", notice("cyd", messageId="x")),  # nobody signed who that is
        ("browser", notice("", messageId="x", userId=None, anonymousId="b1")),
        ("server", notice("", messageId="x", userId=None, anonymousId="b1")),  # a device is nobody
        ("server", notice("cyd", messageId="x", event="Privacy Notice Seen")),
        ("server", {**notice("cyd", messageId="x"), "type": "page", "name": "Privacy Notice Shown"}),
    ],
)
def test_what_does_not_tell_that_a_person_was_given_it(
    texans: Caller, kind: str, message: dict[str, Any]
) -> None:
    texans.send(message, kind=kind)
    assert withheld(texans) == {"notice_not_given": 1}


@pytest.mark.parametrize("material", [True, False])
def test_another_version_is_graded_as_it_will_be_derived(texans: Caller, material: bool) -> None:  # noqa: FBT001  # a table
    """Of people of one identity a difference grades what is there: the same must come of it."""
    foretold = activate(texans, later(material=material), 1)["flows"]
    flows = [flow for flow in foretold if (flow["destination"], flow["purpose"]) == ("mailer", EMAIL)]
    if material:
        assert [(flow["before"], flow["after"], flow["lost"]) for flow in flows] == [(2, 0, 2)]
        assert withheld(texans) == {"notice_not_given": 3}
        texans.send(notice("cyd", messageId="again"), wait=True)
        assert withheld(texans) == {"notice_not_given": 2}
    else:
        assert flows == []
        assert withheld(texans) == {"notice_not_given": 1}
