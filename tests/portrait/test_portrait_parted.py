"""Whose links were cut is in the segments of their own, though these were evaluated while they were one."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller

from cdp.clock import SECOND, FixedClock
from cdp.segments import Follower

QUALITY = "data_quality"
REVIEW = "compliance_review"
SPENDERS = {
    "all": [
        {"trait": "plan", "op": "eq", "value": "pro"},
        {"event": "Order Completed", "sum": {"property": "revenue", "gte": 15}},
    ]
}
FEW = {
    "all": [
        {"trait": "plan", "op": "eq", "value": "pro"},
        {"event": "Order Completed", "count": {"lte": 1}},
    ]
}


class Shop:
    """A, who spent 1, and B, who spent 20: together 21, in two orders."""

    def __init__(self, caller: Caller, clock: FixedClock) -> None:
        self.caller, self._clock = caller, clock
        for name, revenue in (("a", 1), ("b", 20)):
            traits = {"email": f"{name}@people.example", "plan": "pro"}
            caller.send({"type": "identify", "anonymousId": name, "traits": traits})
            order = {"event": "Order Completed", "properties": {"revenue": revenue}}
            caller.send({"type": "track", "anonymousId": name, **order})
        self.tick()
        self.ids = {name: caller.lookup("anonymous_id", name)["id"] for name in "ab"}
        for name, where in (("spenders", SPENDERS), ("few", FEW)):
            caller.api("PUT", f"/segments/{name}", {"name": name, "where": where})
            caller.services.segments.evaluate(name)

    def tick(self) -> None:
        self._clock.advance(SECOND)
        self.caller.services.mirror.refresh()

    def merged_and_evaluated(self) -> None:
        ids = [self.ids[name] for name in "ba"]
        self.caller.api("POST", "/profiles/merge", {"ids": ids, "dry_run": False}, purpose=QUALITY)
        self.tick()
        for name in ("spenders", "few"):
            self.caller.services.segments.evaluate(name)
        assert self.segments() == {"a": ["spenders"], "b": ["spenders"]}

    def split(self) -> None:
        path = f"/profiles/{self.ids['b']}/split"
        self.caller.api("POST", path, {"dry_run": False}, purpose=QUALITY)

    def segments(self) -> dict[str, Any]:
        read = {
            name: self.caller.api("GET", f"/profiles/{no}", purpose=REVIEW) for name, no in self.ids.items()
        }
        return {name: sorted(found["segments"]) for name, found in read.items()}

    def listed(self, segment: str) -> set[str]:
        query = "query($s: String!) {profiles(filter: {segment: $s}, first: 9) {edges {node {id}}}}"
        headers = {"Authorization": f"Bearer {self.caller.operator_key}", "CDP-Purpose": REVIEW}
        body = {"query": query, "variables": {"s": segment}}
        answer = self.caller.http.post("/graphql", json=body, headers=headers).json()
        found = {edge["node"]["id"] for edge in answer["data"]["profiles"]["edges"]}
        return {name for name, no in self.ids.items() if no in found}


@pytest.fixture
def shop(caller: Caller, clock: FixedClock) -> Shop:
    return Shop(caller, clock)


def test_a_portrait_shows_the_segments_of_each(shop: Shop) -> None:
    before = shop.segments()
    assert before == {"a": ["few"], "b": ["few", "spenders"]}
    shop.merged_and_evaluated()
    shop.split()
    shop.tick()
    assert shop.segments() == before


def test_a_segment_lists_each_by_what_is_its_own(shop: Shop) -> None:
    shop.merged_and_evaluated()
    assert shop.listed("few") == set()
    shop.split()
    shop.tick()
    assert (shop.listed("spenders"), shop.listed("few")) == ({"b"}, {"a", "b"})


def test_until_the_warehouse_knows_nobody_is_said_to_be_where_they_may_not_be(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.merged_and_evaluated()
    merged = shop.caller.services.warehouse.snapshot()
    monkeypatch.setattr(shop.caller.services.warehouse, "snapshot", lambda: merged)
    monkeypatch.setattr(Follower, "_turn", lambda _self, **_: 0)  # which looks into the store, too
    shop.split()
    assert shop.segments() == {"a": [], "b": []}
    assert shop.listed("spenders") == set()


def test_of_others_nothing_is_evaluated_for_it(shop: Shop) -> None:
    """A portrait evaluates for whom it shows; who only gained an identity is in segments as before."""
    shop.caller.send({"type": "identify", "anonymousId": "c", "userId": "c", "traits": {"plan": "pro"}})
    shop.merged_and_evaluated()
    shop.split()
    shop.tick()
    shop.ids = {"c": shop.caller.lookup("user_id", "c")["id"]}
    shop.caller.send({"type": "identify", "anonymousId": "c2", "userId": "c"})
    evaluated = shop.caller.api("GET", "/audit?action=segment.evaluate")["items"]
    shop.segments()
    assert shop.caller.api("GET", "/audit?action=segment.evaluate")["items"] == evaluated
