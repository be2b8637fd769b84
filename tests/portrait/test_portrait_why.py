"""Why somebody is in a segment: each condition, what it comes to, and the events that decide it."""

from __future__ import annotations

from typing import Any

from caller import Caller

from cdp.clock import DAY, FixedClock, rfc3339

QUALITY = "data_quality"
GOOD: dict[str, Any] = {
    "name": "good",
    "where": {
        "all": [
            {"trait": "country", "op": "eq", "value": "DE"},
            {
                "event": "Order Completed",
                "where": [{"property": "currency", "op": "eq", "value": "EUR"}],
                "sum": {"property": "revenue", "gte": 50},
                "within": "30d",
            },
            {"not": {"event": "Order Refunded"}},
            {
                "any": [
                    {"sequence": [{"event": "Product Viewed"}, {"event": "Order Completed"}]},
                    {"sample": 1},
                ]
            },
            {"segment": "shoppers"},
            {"not": {"list": "staff"}},
        ]
    },
}


def told(caller: Caller, clock: FixedClock) -> str:
    """Send a person in, with segments to be in; returns their id."""

    def track(name: str, number: int, age: int, **properties: Any) -> dict[str, Any]:
        at = rfc3339(clock.now() - age)
        event = {"type": "track", "event": name, "messageId": f"t{number}", "userId": "ann", "timestamp": at}
        return {**event, "sentAt": rfc3339(clock.now()), "properties": properties}

    caller.send(
        {
            "type": "identify",
            "messageId": "i1",
            "userId": "ann",
            "traits": {"country": "DE", "email": "a@people.example"},
        },
        track("Product Viewed", 1, 3 * DAY),
        track("Order Completed", 2, 2 * DAY, revenue=30, currency="EUR", coupon="SPRING"),
        track("Order Completed", 3, DAY, revenue=25, currency="EUR"),
        track("Order Completed", 4, DAY, revenue=99, currency="USD"),
        track("Order Completed", 5, 40 * DAY, revenue=99, currency="EUR"),
        wait=True,
    )
    members = {"kind": "grey", "members": [{"type": "user_id", "value": "somebody-else"}]}
    caller.api("PUT", "/lists/staff", members)
    caller.api("PUT", "/segments/shoppers", {"where": {"event": "Order Completed", "count": {"gte": 3}}})
    caller.api("PUT", "/segments/good", GOOD)
    return str(
        caller.api("POST", "/profiles/lookup", {"type": "user_id", "value": "ann"}, purpose=QUALITY)["id"]
    )


def why(caller: Caller, profile: str, segment: str = "good", **more: Any) -> Any:
    return caller.api("GET", f"/profiles/{profile}/segments/{segment}", purpose=QUALITY, **more)


def test_every_condition_says_what_it_comes_to(caller: Caller, clock: FixedClock) -> None:
    found = why(caller, told(caller, clock))
    assert (found["member"], found["version"], found["segment"]) == (True, 1, "good")
    country, orders, refunds, either, shoppers, staff = found["reason"]["parts"]
    assert (country["holds"], country["value"], country["condition"]) == (True, "DE", GOOD["where"]["all"][0])
    assert (orders["holds"], orders["matched"], orders["amount"]) == (True, 2, 55.0)
    assert [event["properties"] for event in orders["events"]] == [
        {"currency": "EUR", "revenue": 25.0},
        {"currency": "EUR", "revenue": 30.0},
    ]
    assert orders["events"][0]["occurred_at"] == rfc3339(clock.now() - DAY)
    assert (refunds["kind"], refunds["holds"]) == ("not", True)
    assert (refunds["parts"][0]["holds"], refunds["parts"][0]["matched"]) == (False, 0)
    sequence, sample = either["parts"]
    assert (sequence["holds"], sequence["steps"]) == (True, [True, True])
    assert (sample["holds"], "events" in sample) == (True, False)
    assert (shoppers["holds"], shoppers["parts"][0]["matched"]) == (True, 4)
    assert (staff["holds"], staff["parts"][0]["holds"]) == (True, False)


def test_it_is_as_new_as_the_store_and_says_what_is_missing(caller: Caller, clock: FixedClock) -> None:
    profile = told(caller, clock)
    caller.send({"type": "track", "event": "Order Refunded", "messageId": "r", "userId": "ann"})
    found = why(caller, profile)
    assert found["member"] is False
    (refund,) = found["reason"]["parts"][2]["parts"]
    assert (refund["holds"], refund["matched"], len(refund["events"])) == (True, 1, 1)
    clock.advance(29 * DAY)
    orders = why(caller, profile)["reason"]["parts"][1]
    assert (orders["holds"], orders["matched"], orders["amount"]) == (False, 1, 25.0)


def test_it_is_a_use_on_record_for_stewards_and_officers_only(caller: Caller, clock: FixedClock) -> None:
    profile = told(caller, clock)
    why(caller, profile)
    (used, *_) = caller.api("GET", f"/profiles/{profile}/uses", purpose=QUALITY)["items"]
    assert (used["action"], used["object"]["segment"], used["purpose"]) == ("profile.why", "good", QUALITY)
    marketer = caller.api("POST", "/keys", {"name": "m", "roles": ["marketer"], "purposes": [QUALITY]})["key"]
    why(caller, profile, key=marketer, expect=403)
    caller.api("GET", f"/profiles/{profile}/segments/good", expect=400)  # no purpose
    why(caller, profile, "nobody", expect=404)


def test_a_segment_by_what_may_not_be_seen_is_not_explained(caller: Caller, clock: FixedClock) -> None:
    profile = told(caller, clock)
    where = {"trait": "likely_pregnant", "op": "eq", "value": True}
    answer = caller.api("POST", "/segments/preview", {"where": where}, expect=400)
    assert "likely_pregnant" in answer["detail"]
    assert "sealed" in answer["detail"]
    why(caller, profile)


def test_the_sql_is_shown_on_request(caller: Caller, clock: FixedClock) -> None:
    sql = caller.api("GET", "/segments/good/sql", expect=404)
    assert "no segment" in sql["detail"]
    told(caller, clock)
    sql = caller.api("GET", "/segments/good/sql")["sql"]
    assert "Order Refunded" in sql
    assert sql.count("-- flag") >= 5
