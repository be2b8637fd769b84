"""Computed tags through the faces: in portraits and explanations, as far as the policies allow."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller

from cdp.clock import DAY, FixedClock, rfc3339

QUALITY, REVIEW = "data_quality", "compliance_review"
LIFECYCLE: dict[str, Any] = {
    "kind": "customer",
    "cases": [
        {"value": "potential", "where": {"not": {"event": "Order Completed"}}},
        {"value": "silent", "where": {"not": {"event": "Order Completed", "within": "180d"}}},
    ],
    "otherwise": "active",
}
SHARE: dict[str, Any] = {
    "kind": "behaviour",
    "ratio": {
        "of": {"event": "Order Completed", "where": [{"property": "coupon", "op": "exists"}]},
        "to": {"event": "Order Completed"},
    },
}


@pytest.fixture
def profile(caller: Caller, clock: FixedClock) -> str:
    def ordered(number: int, age: int, **more: Any) -> dict[str, Any]:
        at = rfc3339(clock.now() - age)
        event = {"type": "track", "event": "Order Completed", "messageId": f"t{number}", "userId": "ann"}
        return {
            **event,
            "timestamp": at,
            "sentAt": rfc3339(clock.now()),
            "properties": {"revenue": 20, **more},
        }

    told = {"type": "identify", "messageId": "i", "userId": "ann", "traits": {"value_tier": "high"}}
    caller.send(told, ordered(1, DAY, coupon="SPRING"), ordered(2, 2 * DAY), wait=True)
    caller.api("PUT", "/tags/lifecycle", LIFECYCLE)
    caller.api("PUT", "/tags/coupon_share", SHARE)
    found = caller.api("POST", "/profiles/lookup", {"type": "user_id", "value": "ann"}, purpose=REVIEW)
    return str(found["id"])


def tags(caller: Caller, profile: str, purpose: str = REVIEW) -> dict[str, tuple[Any, Any]]:
    found = caller.api("GET", f"/profiles/{profile}", purpose=purpose)["tags"]
    return {tag["name"]: (tag["value"], tag["version"]) for tag in found}


def test_a_portrait_has_them_as_new_as_the_store(caller: Caller, clock: FixedClock, profile: str) -> None:
    told = {"lifecycle": ("active", 1), "coupon_share": (0.5, 1), "value_tier": ("high", None)}
    assert tags(caller, profile) == told
    assert tags(caller, profile, QUALITY) == {}  # whose rule drops conclusions
    clock.advance(200 * DAY)
    assert tags(caller, profile)["lifecycle"] == ("silent", 1)
    computed = {"kind": "customer", "amount": {"event": "Order Completed", "count": {}}}
    assert caller.api("PUT", "/tags/lifecycle", computed)["version"] == 2
    assert tags(caller, profile)["lifecycle"] == (2, 2)
    query = f'{{profile(id: "{profile}") {{tags {{name value version}}}}}}'
    headers = {"Authorization": f"Bearer {caller.operator_key}", "CDP-Purpose": REVIEW}
    shown = caller.http.post("/graphql", json={"query": query}, headers=headers).json()["data"]["profile"]
    assert {"name": "lifecycle", "value": 2, "version": 2} in shown["tags"]


def test_a_segment_says_why_by_its_tags(caller: Caller, profile: str) -> None:
    where = {
        "all": [
            {"tag": "lifecycle", "op": "eq", "value": "active"},
            {"tag": "coupon_share", "op": "gte", "value": 0.5},
            {"event": "Order Completed", "min": {"property": "event.age", "lte": 1.5}},
        ]
    }
    caller.api("PUT", "/segments/savers", {"where": where})
    found = caller.api("GET", f"/profiles/{profile}/segments/savers", purpose=REVIEW)
    assert found["member"] is True
    stage, share, late = found["reason"]["parts"]
    assert (stage["kind"], stage["holds"], stage["condition"]) == ("tag", True, where["all"][0])
    assert stage["parts"][0]["kind"] == "all"
    (ratio,) = share["parts"]
    assert (ratio["kind"], ratio["amount"]) == ("ratio", 0.5)
    assert [(part["matched"], len(part["events"])) for part in ratio["parts"]] == [(1, 1), (2, 2)]
    assert (late["matched"], late["amount"]) == (2, 1.0)


def test_marketers_define_and_officers_see(caller: Caller, profile: str) -> None:
    marketer = caller.api("POST", "/keys", {"name": "m", "roles": ["marketer"]})["key"]
    steward = caller.api("POST", "/keys", {"name": "s", "roles": ["steward"]})["key"]
    assert [tag["name"] for tag in caller.api("GET", "/tags", key=marketer)["items"]] == [
        "coupon_share",
        "lifecycle",
    ]
    held = caller.api("GET", "/tags/lifecycle", key=marketer)
    assert (held["category"], held["kind"], held["thresholds"]) == (
        "user.inferred.churn_risk",
        "customer",
        None,
    )
    assert caller.api("POST", "/tags/lifecycle/rebuild", {})["version"] == 1
    caller.api("POST", "/tags/lifecycle/rebuild", {}, key=marketer, expect=403)
    score = {"kind": "customer", "score": {"event": "Order Completed"}}
    refused = caller.api("PUT", "/tags/orders", {**score, "into": 3}, key=marketer, expect=403)
    assert "give thresholds instead" in refused["detail"]
    assert "needs 30 people" in caller.api("PUT", "/tags/orders", {**score, "into": 3}, expect=400)["detail"]
    assert caller.api("PUT", "/tags/orders", {**score, "thresholds": [1]}, key=marketer)["version"] == 1
    caller.api("DELETE", "/tags/orders", key=marketer)
    assert "anyOf" in caller.api("GET", "/schemas/tag", key=marketer)
    caller.api("PUT", "/tags/lifecycle", LIFECYCLE, key=steward, expect=403)
    caller.api("GET", f"/profiles/{profile}", key=marketer, purpose=REVIEW, expect=403)
    caller.api("DELETE", "/tags/coupon_share", key=marketer)
    caller.api("GET", "/tags/coupon_share", expect=404)
    refused = caller.api("PUT", "/tags/likely_pregnant", LIFECYCLE, expect=400)
    assert "user.inferred.health" in refused["detail"]
    refused = caller.api("PUT", "/tags/unheard_of", LIFECYCLE, expect=400)
    assert "inferences in policies/fields.yaml" in refused["detail"]
    caller.api("PUT", "/tags/lifecycle", {**LIFECYCLE, "name": "orders"}, expect=400)


def test_sql_with_the_thresholds_of_a_score_is_for_officers(caller: Caller) -> None:
    marketer = caller.api("POST", "/keys", {"name": "m", "roles": ["marketer"]})["key"]
    people = [
        {"type": "track", "event": "Order Completed", "messageId": f"o{number}", "userId": f"u{number}"}
        for number in range(20)
    ]
    caller.send(*({**one, "properties": {"revenue": 100.25 + n}} for n, one in enumerate(people)), wait=True)
    score = {"event": "Order Completed", "sum": {"property": "revenue"}}
    caller.api("PUT", "/tags/monetary", {"kind": "customer", "score": score, "into": 3}, expect=400)
    for _ in range(2):  # the second time nothing changed, so nobody is looked at
        found = caller.api("PUT", "/tags/monetary", {"kind": "customer", "score": score, "into": 2})
    told = caller.api("GET", "/audit?action=tag.rebuild")["items"]
    assert [(entry["outcome"], entry["people"]) for entry in told] == [
        ("allowed", {"evaluated": 20}),
        ("denied", {"evaluated": 20}),
    ]
    assert found["thresholds"]["values"] == [109.25]
    shown = caller.api("GET", "/tags/monetary", key=marketer)["thresholds"]
    assert (shown["values"], shown["people"]) == ([110.0], None)
    caller.api("PUT", "/segments/good", {"where": {"tag": "monetary", "op": "eq", "value": 2}}, key=marketer)
    caller.api("PUT", "/segments/better", {"where": {"segment": "good"}}, key=marketer)
    for name in ("good", "better"):
        assert "109.25" in caller.api("GET", f"/segments/{name}/sql")["sql"]
        refused = caller.api("GET", f"/segments/{name}/sql", key=marketer, expect=403)
        assert "109.25" not in str(refused)
    caller.api("PUT", "/segments/other", {"where": {"event": "Order Completed"}}, key=marketer)
    caller.api("GET", "/segments/other/sql", key=marketer)


@pytest.mark.usefixtures("profile")
def test_a_count_by_a_tag_that_looks_somebody_up_is_for_officers(caller: Caller) -> None:
    marketer = caller.api("POST", "/keys", {"name": "m", "roles": ["marketer"]})["key"]
    caller.api("PUT", "/lists/few", {"kind": "grey", "members": [{"type": "user_id", "value": "ann"}]})
    cases = [{"value": "x", "where": {"list": "few"}}]
    caller.api("PUT", "/tags/lifecycle", {"kind": "customer", "cases": cases})
    where = {"where": {"tag": "lifecycle", "op": "eq", "value": "x"}}
    assert caller.api("POST", "/segments/preview", where)["count"] == 1
    caller.api("POST", "/segments/preview", where, key=marketer, expect=403)
