"""A tracking plan from inference to replay: three modes, counts, causes without values, what still counts."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import msgspec
from caller import Caller
from prometheus_client import REGISTRY

from cdp import app
from cdp.clock import FixedClock
from cdp.ingest import Delivery
from cdp.settings import Settings

EVENT = "track Order Completed"
ORDER = {
    "type": "object",
    "properties": {
        "order_id": {"type": "string", "maxLength": 20},
        "revenue": {"$ref": "#/$defs/money"},
        "currency": {"enum": ["EUR", "CNY"]},
    },
    "required": ["order_id"],
    "additionalProperties": False,
}
KEY, OTHER = "ada@example.com", "Ada Example"
SECRET = "needle-7f3a"
OUTCOMES = ("stored", "duplicates", "quarantined", "refused", "suppressed")


def put(caller: Caller, mode: str, **more: Any) -> int:
    """Give the source a plan of one event and return its version."""
    order = {"type": "track", "name": "Order Completed", "schema": ORDER} | more.pop("order", {})
    defs = {"money": {"type": "number", "minimum": 0}}
    given = {"mode": mode, "$defs": defs, "events": [order, *more.pop("events", [])]} | more
    held = caller.api("PUT", "/sources/test-server/plan", given)
    assert held["plan"] == given
    assert isinstance(held["version"], int)
    return held["version"]


def order(number: int, **properties: Any) -> dict[str, Any]:
    """Return an order of a plainly fictional customer."""
    return {
        "type": "track",
        "event": "Order Completed",
        "messageId": f"order-{number}",
        "userId": f"u-{number}",
        "properties": {"order_id": f"o-{number}", "revenue": 42.5} | properties,
    }


def metric(name: str, **labels: str) -> float:
    """Return a count of the metrics."""
    return REGISTRY.get_sample_value(name, labels) or 0


def send(caller: Caller, *messages: dict[str, Any]) -> dict[str, int]:
    """Send messages and return what became of them."""
    before = {name: metric("cdp_ingest_events_total", outcome=name) for name in OUTCOMES}
    caller.send(*messages)
    after = {name: metric("cdp_ingest_events_total", outcome=name) for name in OUTCOMES}
    return {name: int(after[name] - before[name]) for name in OUTCOMES if after[name] > before[name]}


def violations(caller: Caller) -> dict[tuple[str, str, str], int]:
    """Return what does not fit the plan that holds."""
    held = caller.api("GET", "/sources/test-server/plan")
    return {(one["event"], one["place"], one["kind"]): one["seen"] for one in held["violations"]}


def quarantined(caller: Caller) -> list[dict[str, Any]]:
    """Return what lies in quarantine."""
    items: list[dict[str, Any]] = caller.api("GET", "/quarantine")["items"]
    return items


def test_a_plan_observes_quarantines_and_blocks(caller: Caller) -> None:
    caller.write_key()
    caller.api("GET", "/sources/test-server/plan", expect=404)
    assert [put(caller, "observe"), put(caller, "observe")] == [1, 1]
    labels = {"source": "test-server", "event": EVENT, "kind": "type"}
    before = metric("cdp_plan_violations_total", **labels)
    wrong = order(2, revenue=SECRET, currency="gold", **{KEY: 1, OTHER: 2, "coupon": "x"})
    del wrong["properties"]["order_id"]
    assert send(caller, order(1), wrong, {"type": "track", "event": "Any", "userId": "u-1"}) == {"stored": 3}
    assert violations(caller) == {
        (EVENT, "properties.revenue", "type"): 1,
        (EVENT, "properties.currency", "enum"): 1,
        (EVENT, "properties.order_id", "required"): 1,
        (EVENT, "properties.coupon", "additionalProperties"): 1,
        (EVENT, "properties.*", "additionalProperties"): 1,
    }
    assert metric("cdp_plan_violations_total", **labels) == before + 1

    assert put(caller, "quarantine", unplanned="block") == 2
    assert violations(caller) == {}  # those are of the version before
    odd = order(3, revenue=SECRET, **{KEY: 1})
    told = send(caller, odd, order(4), {**order(5), "event": "Ada Example was here"})
    assert told == {"stored": 1, "quarantined": 1, "refused": 1}
    assert violations(caller)["unplanned", "", "unplanned"] == 1
    (item,) = quarantined(caller)
    assert item["kind"] == "schema_violation"
    assert item["cause"] == (
        "it does not fit version 2 of the tracking plan of its source: "
        "properties.revenue: type, properties.*: additionalProperties"
    )
    assert not any(
        word in str(caller.api("GET", "/sources/test-server/plan")) for word in (SECRET, KEY, OTHER)
    )

    said = {"context": {"consent": {"categoryPreferences": {"Advertising": False}}}}
    put(caller, "block")
    assert send(caller, order(6, revenue=-1) | said, order(7, revenue=-1)) == {"refused": 2}
    assert len(quarantined(caller)) == 1
    replays(caller)


def replays(caller: Caller) -> None:
    """What a plan turned away and what became of it once the plan is another."""
    refused = caller.lookup("user_id", "u-6")["id"]  # is there by a refusal alone
    states = caller.api("GET", f"/profiles/{refused}/consents", purpose="data_quality")
    assert "refused" in str(states)
    caller.api(
        "POST", "/profiles/lookup", {"type": "user_id", "value": "u-7"}, purpose="data_quality", expect=404
    )
    seen = violations(caller)
    again = caller.api("POST", "/quarantine/replay", {})  # what was kept is kept, whatever the mode is now
    assert (again["quarantined"], again["refused"], len(quarantined(caller))) == (1, 0, 1)
    assert violations(caller) == seen
    put(caller, "block", order={"schema": {"required": ["order_id"]}})
    again = caller.api("POST", "/quarantine/replay", {})
    assert (again["stored"], quarantined(caller)) == (1, [])
    assert send(caller, order(3)) == {"duplicates": 1}  # it is stored under the id that it came with
    caller.api("DELETE", "/sources/test-server/plan")
    caller.api("DELETE", "/sources/test-server/plan", expect=404)
    assert send(caller, order(8, revenue=SECRET)) == {"stored": 1}
    audited = caller.api("GET", "/audit?action=plan.apply")["items"]
    assert {one["object"]["version"] for one in audited} == {1, 2, 3, 4}
    assert len(caller.api("GET", "/audit?action=plan.remove")["items"]) == 1


def test_another_process_follows_and_both_count_together(
    caller: Caller, settings: Settings, clock: FixedClock
) -> None:
    with closing(app.build(settings, clock)) as other:
        write_key = caller.write_key()
        put(caller, "block")
        assert send(caller, order(1, revenue=-1)) == {"refused": 1}
        violations(caller)  # which writes down what was counted until now
        services = other.services
        services.plans.judges.refresh()
        raw = msgspec.json.encode(order(2, revenue=-1))
        delivery = Delivery(
            source=services.access.source(write_key), messages=(raw,), received_at=clock.now()
        )
        assert other.writer.write([delivery]).refused == 1
        services.plans.flush()
        services.catalogue.flush()
    assert violations(caller) == {(EVENT, "properties.revenue", "minimum"): 2}
    whole, event = caller.api("GET", "/sources/test-server/catalogue")["events"]
    assert (whole["seen"], event["seen"]) == (2, 2)
