"""What an officer is told: differences in people and fields, and decisions explained, now and as of then."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from caller import Caller

from cdp.clock import DAY, FixedClock, rfc3339
from cdp.errors import NotPermittedError
from cdp.policy import read_folder

POLICIES = Path(__file__).parents[2] / "policies"
EMAIL = "marketing.communications.email"
NAMES = ("ann", "bob", "cyd", "dan", "eva", "fay", "gil", "hal", "ida", "jon", "kim", "leo")
WHERE = {"where": {"trait": "country", "op": "eq", "value": "Germany"}}
AFTER = "  marketing.communications.email_plain:\n"
LATER = (
    "      - id: email-news\n        version: 2\n        in_force_from: 2099-01-01\n"
    "        material: true\n        text: {en: We would also like to pass your address on.}\n"
)
TOLD = ("churn_risk", "preference", "value_tier")
PLAIN = {"destination": "mailer", "purpose": EMAIL}


def preference(name: str, *, agreed: bool, number: int = 1) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "messageId": f"c-{name}-{number}",
        "userId": name,
        "context": {"consent": {"categoryPreferences": {"Email": agreed}}},
    }


@pytest.fixture
def people(caller: Caller) -> Caller:
    """A platform with people."""
    return germans(caller)


def germans(caller: Caller) -> Caller:
    """Twelve plainly fictional Germans; all but the last two agreed to e-mail."""
    told = []
    for name in NAMES:
        traits = {"email": f"{name}@people.example", "country": "Germany", "first_name": name.title()}
        told.append({"type": "identify", "messageId": f"i-{name}", "userId": name, "traits": traits})
    told += [preference(name, agreed=True) for name in NAMES[:-2]]
    caller.send(*told, wait=True)
    caller.api("PUT", "/segments/germans", WHERE)
    return caller


def texts(**replaced: tuple[str, str, str]) -> dict[str, str]:
    """The shipped files as texts; each argument is (file, old, new)."""
    found = {name: content.decode() for name, content in read_folder(POLICIES).items()}
    for name, old, new in replaced.values():
        assert old in found[name], (name, old)
        found[name] = found[name].replace(old, new, 1)
    return found


def diff(caller: Caller, **replaced: tuple[str, str, str]) -> Any:
    return caller.api("POST", "/policies/diff", {"files": texts(**replaced)})


def mailer(found: Any) -> Any:
    (flow,) = (f for f in found["flows"] if (f["destination"], f["purpose"]) == ("mailer", EMAIL))
    return flow


def exported(caller: Caller) -> Any:
    body = {"segment": "germans", **PLAIN}
    return caller.api("POST", "/exports", body)


# -- the difference -----------------------------------------------------------------------------------


def test_the_same_policies_differ_in_nothing(people: Caller) -> None:
    found = diff(people)
    assert (found["changes"], found["flows"], found["warnings"]) == ([], [], [])
    assert found["permits"] == []


def test_what_a_rule_opens_is_shown_though_nobody_falls_under_it_today(people: Caller) -> None:
    listed = (
        "inputs: [user.account, user.behavior.purchase_history, user.behavior.browsing_history, user.demo"
    )
    found = diff(people, rule=("rules/communications.yaml", listed, listed.replace("[", "[user.inferred, ")))
    assert found["flows"] == []
    (one, other) = found["permits"]
    assert one["names"] == other["names"] == [f"user.inferred.{name}" for name in TOLD]
    assert (one["what"], one["before"], one["rules"]) == ("inputs", "never", ["email-marketing-opt-in"])
    assert {*one["jurisdictions"], *other["jurisdictions"]} == {"CN", "EU", "UK", "other"}


def test_people_lost_are_counted_as_the_gate_would(people: Caller) -> None:
    given = exported(people)
    assert given["released"] == 10
    found = diff(people, off=("destinations/mailer.yaml", "enabled: true", "enabled: false"))
    flow = mailer(found)
    assert (flow["before"], flow["after"], flow["gained"], flow["lost"]) == (10, 0, 0, 10)
    assert flow["reasons"] == {"not_permitted": 10}
    entry = people.api("GET", "/audit?action=policy.diff")["items"][0]
    assert (entry["purpose"], entry["people"]["lost"]) == ("compliance_review", 10)


def test_a_material_notice_shows_whose_consent_it_makes_stale(people: Caller) -> None:
    found = diff(people, notice=("purposes.yaml", AFTER, LATER + AFTER))
    flow = mailer(found)
    assert (flow["before"], flow["after"], flow["lost"], flow["reasons"]) == (10, 0, 10, {"stale": 10})
    assert any("older consents stale" in warning for warning in found["warnings"])
    assert [c["details"] for c in found["changes"] if c["name"] == EMAIL] == [["notices"]]


@pytest.mark.parametrize(
    "replaced",
    [
        {"notice": ("purposes.yaml", AFTER, LATER + AFTER)},
        {
            "purpose": ("purposes.yaml", "validity_days: 730", "validity_days: 1"),
            "rule": ("rules/communications.yaml", "max_age_days: 730", "max_age_days: 1"),
        },
    ],
    ids=["notice", "validity"],
)
def test_the_difference_foretells_what_activation_does(
    people: Caller, clock: FixedClock, replaced: dict[str, tuple[str, str, str]]
) -> None:
    """For people of several identities and of one, whose consent is graded in another way."""
    for name in ("lea", "mia", "noa"):  # of one identity
        traits = {"country": "Germany"}
        people.send({"type": "identify", "messageId": f"i-{name}", "userId": name, "traits": traits})
        people.send(preference(name, agreed=name != "noa"), wait=True)
    clock.advance(3 * DAY)
    before = exported(people)["released"]
    files = texts(**replaced)
    made = people.api("POST", "/policies/activate", {"files": files}, key=people.officer("first"))
    flows = [f for f in made["difference"]["flows"] if (f["destination"], f["purpose"]) == ("mailer", EMAIL)]
    foretold = flows[0]["after"] if flows else before
    people.api(
        "POST", "/policies/activate", {"approve": made["proposal"]["id"]}, key=people.officer("second")
    )
    body = {"segment": "germans", **PLAIN, "dry_run": True}
    assert people.api("POST", "/exports", body)["released"] == foretold
    assert (before, foretold) == (12, 0)


def test_fields_that_leave_in_another_form_are_counted(people: Caller) -> None:
    found = diff(
        people,
        mask=(
            "rules/communications.yaml",
            "user.contact.email: clear",
            "user.contact.email: mask",
        ),
    )
    flow = mailer(found)
    assert (flow["gained"], flow["lost"]) == (0, 0)
    assert {"field": "email", "before": "clear", "after": "mask", "people": 10} in flow["fields"]


def test_what_would_be_orphaned_is_a_warning(people: Caller) -> None:
    people.destination_key("mailer", EMAIL)
    files = texts(name=("destinations/mailer.yaml", "name: mailer", "name: post"))
    files["destinations/post.yaml"] = files.pop("destinations/mailer.yaml")
    answer = people.api("POST", "/policies/diff", {"files": files})
    assert any("is of mailer, which would be no destination" in warning for warning in answer["warnings"])
    assert mailer(answer)["lost"] == 10
    sealed = diff(
        people,
        seal=(
            "fields.yaml",
            "country: {category: user.location.coarse, protection: clear, place: country}",
            "country: {category: user.location.coarse}",
        ),
    )
    assert any("the segment germans would no longer hold" in warning for warning in sealed["warnings"])
    assert any("traits.country" in warning for warning in sealed["warnings"])


# -- while an export is fetched -------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["switch", "activate"])
def test_a_running_fetch_obeys_at_its_next_row(people: Caller, act: str) -> None:
    export = exported(people)["id"]
    key = people.destination_key("mailer", EMAIL)
    rendering = people.services.gate.render(export, people.services.access.principal(key))
    left = [next(rendering.rows) for _ in range(3)]
    if act == "switch":
        people.api("POST", "/destinations/mailer/switch", {"enabled": False, "reason": "test"})
        with pytest.raises(NotPermittedError, match="switched off"):
            next(rendering.rows)
        return
    files = texts(drop=("rules/communications.yaml", "user.contact.email: clear", "user.contact.email: drop"))
    made = people.api("POST", "/policies/activate", {"files": files}, key=people.officer("first"))
    people.api(
        "POST", "/policies/activate", {"approve": made["proposal"]["id"]}, key=people.officer("second")
    )
    place = [column.name for column in rendering.columns].index("email")
    assert all(row.values[place] for row in left)
    rest = list(rendering.rows)
    assert len(rest) == 7
    assert not any(row.values[place] for row in rest)


# -- one decision -------------------------------------------------------------------------------------


def explain(caller: Caller, name: str, stated: str = "compliance_review", **asked: Any) -> Any:
    profile = caller.lookup("user_id", name)["id"]
    body = {"profile": profile, **asked}
    return caller.api("POST", "/policies/explain", body, purpose=stated)


def test_an_explanation_names_rules_consent_and_fields(people: Caller) -> None:
    found = explain(people, "ann", **PLAIN, segment="germans")
    assert (found["outcome"], found["reason"], found["in_segment"]) == ("permitted", "permitted", True)
    assert found["consent"]["state"] == "granted"
    assert found["consent"]["record"]["source_kind"] == "server"
    assert "user.location.coarse" in found["inputs"]["read"]
    email = next(field for field in found["fields"] if field["field"] == "email")
    assert email["transform"] == "clear"
    assert email["words"][0]["rule"]
    because = {item["jurisdiction"]: item["because"] for item in found["jurisdictions"]}
    assert because["EU"] in {"controller", "recorded"}
    permit = next(rule for rule in found["rules"] if rule["rule"] == email["words"][0]["rule"])
    assert {where["truth"] for where in permit["where"]} == {"TRUE"}
    assert "people.example" not in str(found)
    profile = people.lookup("user_id", "ann")["id"]
    uses = people.api("GET", f"/profiles/{profile}/uses", purpose="compliance_review")["items"]
    assert any(use["action"] == "policy.explain" for use in uses)


def test_an_explanation_names_what_stood_against_it(people: Caller) -> None:
    silent = explain(people, "kim", **PLAIN)
    assert (silent["outcome"], silent["reason"]) == ("denied", "no_consent")
    assert silent["ungranted"]
    assert {where["decided_by"] for rule in silent["rules"] for where in rule["where"]} >= {"consent"}
    people.send(preference("ann", agreed=False, number=2))
    refused = explain(people, "ann", **PLAIN)
    assert refused["restraints"]
    assert refused["reason"] == refused["restraints"][0]
    people.api("POST", "/destinations/mailer/switch", {"enabled": False, "reason": "test"})
    assert explain(people, "bob", **PLAIN)["reason"] == "destination_off"


def test_an_explanation_is_for_review_or_rights_only(people: Caller) -> None:
    profile = people.lookup("user_id", "ann")["id"]
    body = {"profile": profile, **PLAIN}
    people.api("POST", "/policies/explain", body, purpose="data_quality", expect=403)
    people.api("POST", "/policies/explain", body, expect=400)
    people.api("POST", "/policies/explain", {"profile": profile}, purpose="rights", expect=400)
    people.api("POST", "/policies/explain", {**body, "as_of": "then"}, purpose="rights", expect=400)
    people.api("POST", "/policies/explain", {**body, "export": "e_0"}, purpose="rights", expect=404)
    assert explain(people, "ann", "rights", **PLAIN)["outcome"] == "permitted"


def test_a_past_export_is_explained_as_it_was_decided(people: Caller, clock: FixedClock) -> None:
    then = rfc3339(clock.now())
    export = exported(people)["id"]
    clock.advance(DAY)
    people.send(preference("ann", agreed=False, number=2))
    people.send({"type": "identify", "messageId": "i2", "userId": "ann", "traits": {"country": "China"}})
    now = explain(people, "ann", **PLAIN)
    assert now["outcome"] == "denied"
    assert "CN" in {item["jurisdiction"] for item in now["jurisdictions"]}
    was = explain(people, "ann", export=export)
    assert (was["outcome"], was["at"]) == ("permitted", then)
    assert "CN" not in {item["jurisdiction"] for item in was["jurisdictions"]}
    assert was["recorded"]["outcome"] == "released"
    assert was["recorded"]["leaf"] == "present"
    assert was["recorded"]["plan"]["email"] == "clear"
    assert was["consent"]["state"] == "granted"
    assert (was["in_segment"], was["not_reproduced"]) == (True, ["erased_facts_missing"])
    absent = explain(people, "kim", export=export)
    assert (absent["reason"], absent["recorded"]["outcome"]) == ("no_consent", "absent")
    assert absent["recorded"]["leaf"] == "missing"
    dated = explain(people, "ann", **PLAIN, as_of=then)
    assert (dated["bundle"], len(dated["not_reproduced"])) == (was["bundle"], 3)
    profile = people.lookup("user_id", "ann")["id"]
    early = {"profile": profile, **PLAIN, "as_of": "2020-01-01T00:00:00Z"}
    people.api("POST", "/policies/explain", early, purpose="rights", expect=404)


def test_a_past_export_is_explained_with_its_own_policies(people: Caller) -> None:
    export = exported(people)["id"]
    files = texts(off=("destinations/mailer.yaml", "enabled: true", "enabled: false"))
    made = people.api("POST", "/policies/activate", {"files": files}, key=people.officer("first"))
    people.api(
        "POST", "/policies/activate", {"approve": made["proposal"]["id"]}, key=people.officer("second")
    )
    was, now = explain(people, "ann", export=export), explain(people, "ann", **PLAIN)
    assert (was["outcome"], now["reason"]) == ("permitted", "destination_off")
    assert was["bundle"] != now["bundle"]


def test_links_made_since_are_not_in_an_explanation_of_then(people: Caller, clock: FixedClock) -> None:
    export = exported(people)["id"]
    ann, kim = (people.lookup("user_id", name)["id"] for name in ("ann", NAMES[-1]))
    clock.advance(DAY)
    people.send({"type": "alias", "messageId": "a1", "userId": "ann", "previousId": NAMES[-1]})
    assert people.lookup("user_id", "ann") == people.lookup("user_id", NAMES[-1])
    for profile, then in ((ann, ("permitted", "released")), (kim, ("denied", "absent"))):
        asked = ({"profile": profile, **how} for how in ({"export": export}, PLAIN))
        was, now = (people.api("POST", "/policies/explain", one, purpose="rights") for one in asked)
        assert (was["outcome"], was["recorded"]["outcome"], now["outcome"]) == (*then, "denied")


EVERYTHING = """query($input: DecisionInput!) { explainDecision(input: $input) {
  outcome reason destination purpose segment bundle at ledgerPosition barred restraints ungranted instead
  inSegment notReproduced
  jurisdictions { jurisdiction because }
  rules { rule effect where { jurisdiction truth decidedBy conditions { condition truth } } inputs }
  inputs { read unlisted { jurisdiction categories } }
  fields { field category transform words { rule transform } }
  consent { state reason since expiresAt noticeGiven
    record { id purpose state eventTime receivedAt source sourceKind act notice noticeVersion } }
  recorded { outcome plan { field transform } leaf fetchedAt } } }"""
PAIRS = {
    "conditions": ("condition", "truth"),
    "unlisted": ("jurisdiction", "categories"),
    "plan": ("field", "transform"),
}


def as_graphql(held: Any) -> Any:
    """Return an answer of REST as GraphQL has it: names in camel case, pairs for maps."""
    if isinstance(held, list):
        return [as_graphql(one) for one in held]
    if not isinstance(held, dict):
        return held
    pairs = {
        name: [dict(zip(PAIRS[name], item, strict=True)) for item in value.items()]
        if name in PAIRS
        else as_graphql(value)
        for name, value in held.items()
    }
    return {re.sub(r"_(\w)", lambda found: found[1].upper(), name): value for name, value in pairs.items()}


@pytest.mark.parametrize("past", [False, True])
def test_graphql_explains_the_same(people: Caller, past: bool) -> None:  # noqa: FBT001  # a parameter of the test
    profile = people.lookup("user_id", "ann")["id"]
    export = exported(people)["id"]
    asked = {"export": export} if past else {"destination": "mailer", "purpose": EMAIL, "segment": "germans"}
    answer = people.http.post(
        "/graphql",
        json={"query": EVERYTHING, "variables": {"input": {"profileId": profile, **asked}}},
        headers={"Authorization": f"Bearer {people.operator_key}", "CDP-Purpose": "compliance_review"},
    ).json()
    assert "errors" not in answer, answer
    shown = answer["data"]["explainDecision"]
    rest = as_graphql(explain(people, "ann", **asked))
    moving = {} if past else {"ledgerPosition": shown["ledgerPosition"]}  # asking is on record
    assert shown == rest | moving
    assert shown["rules"][0]["where"][0]["conditions"]


# -- what nobody declared -----------------------------------------------------------------------------


def test_undeclared_fields_are_proposed_by_name_and_type_only(people: Caller) -> None:
    people.send(
        {
            "type": "identify",
            "messageId": "u1",
            "userId": "ann",
            "traits": {"shoeSize": 42, "allergyNotes": "peanuts", "ann@people.example": "x"},
        },
        {
            "type": "track",
            "event": "Order Completed",
            "messageId": "u2",
            "userId": "ann",
            "properties": {"gift_total": 12.5, "wish": "a pony", "0049301234567": "call"},
        },
    )
    found = people.api("GET", "/policies/suggestions")
    seen = {(item["part"], item["name"]): item["types"] for item in found["fields"]}
    assert seen["traits", "shoe_size"] == {"number": 1}
    assert seen["properties", "gift_total"] == {"number": 1}
    assert not any("people.example" in name or name.startswith("0") for _, name in seen)
    assert ("traits", "email") not in seen
    yaml = found["yaml"]
    assert "allergy_notes: {category: user.health}" in yaml
    assert "gift_total: {category: user.behavior.purchase_history, protection: clear, type: number}" in yaml
    assert "peanuts" not in str(found)
    assert "pony" not in str(found)
    first = "traits:\n  shoe_size: {category: user.account, type: number}\n"
    declared = texts(more=("fields.yaml", "traits:\n", first))
    assert any(
        change["name"] == "shoe_size"
        for change in people.api("POST", "/policies/diff", {"files": declared})["changes"]
    )
