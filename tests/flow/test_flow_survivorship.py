"""Which value of a trait holds, through portraits, reveals, segments and feeds; and who says otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from caller import Caller
from platform_fixtures import NOW, Shell
from recovery_world import EMAIL, say

from cdp.clock import DAY, FixedClock, Micros, rfc3339
from cdp.policy import read_folder
from cdp.profiles import queries

QUALITY, REVIEW = "data_quality", "compliance_review"
DECLARED = """
  sector: {category: user.account, protection: clear, survivorship: most_frequent}
  points: {category: user.account, protection: clear, type: number, survivorship: sum}
  topics: {category: user.account, protection: clear, type: list, survivorship: union}
  shop: {category: user.account, protection: clear, survivorship: longest_lived}
  visits: {category: user.account, protection: clear, type: number, expires: 30d}
"""


def activate(caller: Caller, *changes: tuple[str, str]) -> None:
    """Put a changed fields.yaml in force."""
    given = {name: text.decode() for name, text in read_folder(caller.services.settings.policies_dir).items()}
    for change in changes:
        assert given["fields.yaml"].count(change[0]) == 1, change
        given["fields.yaml"] = given["fields.yaml"].replace(*change)
    made = caller.api("POST", "/policies/activate", {"files": given}, key=caller.officer("first"))
    named = {"approve": made["proposal"]["sha256"]}
    caller.api("POST", "/policies/activate", named, key=caller.officer("second"))


def identify(user: str, at: Micros = NOW, **traits: Any) -> dict[str, Any]:
    return {"type": "identify", "userId": user, "timestamp": rfc3339(at), "traits": traits}


def portrait(caller: Caller, user: str) -> Any:
    return caller.lookup("user_id", user)


def members(caller: Caller, trait: str, op: str, value: Any) -> int:
    caller.api("PUT", "/segments/asked", {"where": {"trait": trait, "op": op, "value": value}})
    return len(caller.services.segments.evaluate("asked").bitmap)


def revealed(caller: Caller, user: str, *fields: str) -> Any:
    body = {"fields": fields, "purpose": QUALITY, "reason": "customer_request"}
    return caller.api("POST", f"/profiles/{portrait(caller, user)['id']}/reveal", body)["fields"]


def conflicts(caller: Caller, query: str = "", purpose: str = REVIEW, **more: Any) -> Any:
    return caller.api("GET", f"/identity/conflicts{query}", purpose=purpose, **more)


def test_every_reader_says_the_same(caller: Caller) -> None:
    activate(caller, ("traits:\n", f"traits:{DECLARED}"))
    day = NOW - 10 * DAY
    caller.send(identify("ann", day, sector="a", points=1.5, topics=["x"], shop="old", order_count=9))
    caller.send(identify("ann", day + DAY, sector="a", points=2, topics=["x", "y"]), kind="import")
    caller.send(identify("ann", day + 9 * DAY, sector="b", points=-1, shop="new", order_count=4), wait=True)
    found = portrait(caller, "ann")
    told = {"sector": "a", "points": 2.5, "topics": ["x", "y"], "shop": "old", "order_count": 9}
    assert {name: found["traits"][name] for name in told} == told
    rules = {name: found["provenance"][name]["rule"] for name in told}
    assert rules == {
        "sector": "most_frequent",
        "points": "sum",
        "topics": "union",
        "shop": "longest_lived",
        "order_count": "max",
    }
    assert found["provenance"]["topics"]["source"] == "test-import"
    assert revealed(caller, "ann", "points", "topics") == {"points": 2.5, "topics": '["x","y"]'}
    for trait, value in told.items():
        if trait != "topics":
            assert members(caller, trait, "eq", value) == 1, trait


def test_a_validated_address_stands_over_a_newer_one(caller: Caller) -> None:
    day = NOW - 10 * DAY
    caller.send(identify("ann", day, email="known@people.example"))
    caller.send(identify("ann", day + DAY, email_verified=True))
    caller.send(identify("ann", day + 2 * DAY, email="typed@people.example"))
    assert revealed(caller, "ann", "email") == {"email": "known@people.example"}
    caller.send(identify("ann", day + 3 * DAY, email_verified=False))  # of the newer one
    assert revealed(caller, "ann", "email") == {"email": "known@people.example"}
    caller.send(identify("ann", day + 4 * DAY, email_verified=True))
    assert revealed(caller, "ann", "email") == {"email": "typed@people.example"}


def test_a_feed_is_told_when_another_address_holds(caller: Caller) -> None:
    caller.send(identify("ann", NOW - 2 * DAY, email="known@people.example", country="Germany"))
    caller.send(identify("ann", NOW - DAY, email="typed@people.example"))
    say(caller, "ann", True, 1)
    caller.send({"type": "track", "event": "x", "userId": "ann"}, wait=True)
    caller.api("PUT", "/segments/some", {"where": {"trait": "country", "op": "eq", "value": "Germany"}})
    asked = {"segment": "some", "destination": "mailer", "purpose": EMAIL, "mode": "delta"}
    caller.api("POST", "/exports", asked)
    key = caller.destination_key("mailer", EMAIL)
    path = f"/destinations/mailer/segments/some/changes?purpose={EMAIL}"
    first = caller.api("GET", path, key=key)
    assert [row["email"] for row in first["changes"]] == ["typed@people.example"]
    # said of the older one, late: the newer one was typed in after it
    caller.send(identify("ann", NOW - DAY - 1, email_verified=True), wait=True)
    again = caller.api("GET", f"{path}&cursor={first['cursor']}", key=key)
    assert [row["email"] for row in again["changes"]] == ["known@people.example"]


def test_what_expires_changes_at_midnight_and_nothing_else(caller: Caller, clock: FixedClock) -> None:
    place = "country: {category: user.location.coarse, protection: clear, place: country"
    birth = "generalise: {into: age_band, by: age_band}"
    activate(
        caller,
        ("traits:\n", f"traits:{DECLARED}"),
        (f"\n  {place}}}", f"\n  {place}, expires: 30d}}"),
        (birth, f"{birth}\n    expires: 30d"),
    )
    caller.send(identify("kid", NOW, visits=3, country="France", birthday="2015-05-05"), wait=True)
    asked = {"destination": "mailer", "purpose": EMAIL}

    def decided() -> Any:
        body = {"profile": portrait(caller, "kid")["id"], **asked}
        found = caller.api("POST", "/policies/explain", body, purpose="compliance_review")
        return found["jurisdictions"], found["restraints"], found["reason"], found["ungranted"]

    before = decided()
    clock.at = NOW - NOW % DAY + 31 * DAY - 1
    assert portrait(caller, "kid")["traits"]["visits"] == 3
    assert members(caller, "visits", "eq", 3) == 1
    clock.advance(1)
    assert not {"visits", "country", "birthday"} & portrait(caller, "kid")["traits"].keys()
    assert members(caller, "visits", "exists", True) == 0
    assert decided() == before  # the laws and the age are those of everything ever told
    caller.send(identify("kid", clock.now(), visits=1), wait=True)
    assert members(caller, "visits", "eq", 1) == 1


def test_a_merge_folds_all_of_it_and_a_split_each_side_alone(caller: Caller) -> None:
    activate(caller, ("traits:\n", f"traits:{DECLARED}"))
    ann, bob = ({"anonymousId": name, "type": "identify"} for name in ("ann", "bob"))
    one = {"sector": "a", "points": 1, "topics": ["x"], "shop": "one"}
    caller.send({**ann, "timestamp": rfc3339(NOW - 3 * DAY), "traits": one})
    two = {"sector": "a", "points": 1, "shop": "two"}
    caller.send({**ann, "timestamp": rfc3339(NOW - 2 * DAY), "traits": two}, kind="import")
    for number in range(3):
        three = {"sector": "b", "points": 10, "topics": ["y"], "shop": "two"}
        caller.send({**bob, "timestamp": rfc3339(NOW - number), "traits": three})

    def seen(name: str) -> Any:
        found = caller.lookup("anonymous_id", name)
        return [(found["traits"][trait], found["provenance"][trait]) for trait in sorted(one)]

    apart = seen("ann"), seen("bob")
    ids = [caller.lookup("anonymous_id", name)["id"] for name in ("ann", "bob")]
    asked = {"ids": ids, "dry_run": False}
    caller.api("POST", "/profiles/merge", asked, purpose="identity_resolution")
    assert [value for value, _ in seen("bob")] == [32, "b", "one", ["x", "y"]]
    assert seen("ann") == seen("bob")
    asked = {"dry_run": False}
    caller.api("POST", f"/profiles/{ids[1]}/split", asked, purpose="identity_resolution")
    assert (seen("ann"), seen("bob")) == apart


# -- conflicts --------------------------------------------------------------------------------------


@pytest.fixture
def disputed(caller: Caller) -> Caller:
    """A caller of a platform whose sources differ about two people, and agree about a third."""
    for number, user in enumerate(("ann", "bob", "cy")):
        traits = {"company.industry": "62.01", "plan": "gold", "email": f"{user}@people.example"}
        caller.send(identify(user, NOW - 2 * DAY, **traits))
        other = {"company.industry": "62.01" if user == "cy" else "58.29", "email": "x@people.example"}
        caller.send(identify(user, NOW - (3 + number) * DAY, **other), kind="import")
    caller.send(identify("bob", NOW - DAY, plan="free"), kind="browser")
    return caller


def test_conflicts_name_each_source_and_why_one_value_holds(disputed: Caller) -> None:
    found = conflicts(disputed)
    assert found["next"] is None
    ids = {portrait(disputed, user)["id"]: user for user in ("ann", "bob", "cy")}
    listed = [(ids[item["profile"]], item["trait"], item["rule"]) for item in found["items"]]
    assert listed == [
        ("ann", "company.industry", "most_trusted"),
        ("bob", "company.industry", "most_trusted"),
        ("bob", "plan", "most_trusted"),
    ]
    assert found["items"][0]["values"] == [
        {
            "source": "test-server",
            "value": "62.01",
            "observed_at": rfc3339(NOW - 2 * DAY),
            "holds": False,
        },
        {"source": "test-import", "value": "58.29", "observed_at": rfc3339(NOW - 3 * DAY), "holds": True},
    ]
    held = {value["source"]: value["holds"] for value in found["items"][2]["values"]}
    assert held == {"test-server": True, "test-browser": False}
    (entry,) = disputed.api("GET", "/audit?action=profile.conflicts")["items"]
    assert (entry["purpose"], entry["outcome"]) == (REVIEW, "allowed")
    assert conflicts(disputed, purpose=QUALITY)["items"] == found["items"], "which settles them"
    # what the controller may not see for a purpose is not named for it
    assert conflicts(disputed, purpose="identity_resolution")["items"] == []


def test_conflicts_come_by_trait_and_a_page_at_a_time(disputed: Caller) -> None:
    whole = conflicts(disputed)["items"]
    assert conflicts(disputed, "?trait=plan")["items"] == whole[2:]
    assert paged(disputed) == (whole, 3)


def paged(caller: Caller) -> tuple[list[Any], int]:
    """Read the list to its end, one a page: its items, and how many pages that took."""
    items, cursor = list[Any](), ""
    for number in range(1, 20):
        page = conflicts(caller, f"?limit=1{cursor}")
        items += page["items"]
        if page["next"] is None:
            return items, number
        cursor = f"&cursor={page['next']}"
    raise AssertionError("the list does not end")


def test_a_page_looks_through_so_many_people_and_the_next_one_goes_on(
    disputed: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = conflicts(disputed)["items"]
    monkeypatch.setattr(queries, "_PAGE", 1)
    assert paged(disputed) == (whole, 3)
    monkeypatch.setattr(queries, "_PAGES", 1)
    items, pages = paged(disputed)
    assert (items, pages > 3) == (whole, True)


def test_no_conflict_is_sealed_superseded_or_expired(disputed: Caller, clock: FixedClock) -> None:
    assert "email" not in {item["trait"] for item in conflicts(disputed)["items"]}
    for trait in ("email", "nothing"):
        conflicts(disputed, f"?trait={trait}", expect=400)
    disputed.send(identify("ann", NOW, **{"company.industry": "62.01"}), kind="import")
    assert len(conflicts(disputed, "?trait=company.industry")["items"]) == 1
    disputed.send(identify("ann", NOW, **{"company.employee_count": 5}))
    disputed.send(identify("ann", NOW - 700 * DAY, **{"company.employee_count": 50}), kind="import")
    assert len(conflicts(disputed, "?trait=company.employee_count")["items"]) == 1
    clock.advance(31 * DAY)
    assert conflicts(disputed, "?trait=company.employee_count")["items"] == []


def test_conflicts_leave_out_who_is_restrained_and_need_a_purpose(disputed: Caller) -> None:
    bob = portrait(disputed, "bob")["id"]
    assert bob in {item["profile"] for item in conflicts(disputed, purpose=QUALITY)["items"]}
    named = [{"type": "user_id", "value": "bob"}]
    disputed.api("POST", "/consents", {"identifiers": named, "purpose": QUALITY, "state": "objected"})
    assert bob not in {item["profile"] for item in conflicts(disputed, purpose=QUALITY)["items"]}
    assert bob in {item["profile"] for item in conflicts(disputed)["items"]}  # that purpose goes on
    disputed.api("GET", "/identity/conflicts", expect=400)
    disputed.api("GET", "/identity/conflicts", purpose=EMAIL, expect=403)
    marketer = disputed.officer("only-marketer", roles=("marketer",))
    disputed.api("GET", "/identity/conflicts", purpose=QUALITY, key=marketer, expect=403)


def test_the_command_lists_conflicts(shell: Shell) -> None:
    assert json.loads(shell("identity", "conflicts", "--json")) == []
    assert "profile" in shell("identity", "conflicts", "--trait", "plan")
