"""The data catalogue: shares, types, times and what is declared of each field; a plan that is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from caller import Caller
from platform_fixtures import Shell

from cdp.clock import SECOND, FixedClock

UNFIT = ("ada@example.com", "0049 30 1234567", "k12345", "Ada Example")


def track(number: int, **properties: Any) -> dict[str, Any]:
    """Return an event of a plainly fictional customer."""
    return {
        "type": "track",
        "event": "Order Completed",
        "userId": f"u-{number}",
        "properties": properties,
        "context": {"page": {"path": "/thanks"}, "locale": "en-GB"},
    }


def signup(number: int, **traits: Any) -> dict[str, Any]:
    """Return what a plainly fictional customer says of themselves."""
    return {"type": "identify", "userId": f"u-{number}", "traits": traits}


def fields(event: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the fields of an event by part and name."""
    return {(one["part"], one["name"]): one for one in event["fields"]}


def test_what_a_source_sends_is_told_by_name_type_and_share(
    caller: Caller, shell: Shell, clock: FixedClock, tmp_path: Path
) -> None:
    odd: dict[str, Any] = dict.fromkeys(UNFIT, "x")
    caller.send(*(track(n, order_id=f"o-{n}", revenue=1.5, couponCode=None) for n in range(15)))
    caller.api("GET", "/sources/test-server/catalogue")  # which writes down what was counted until now
    clock.advance(90 * SECOND)
    caller.send(
        *(track(n, order_id=n, products=[{"sku": "s"}], **odd) for n in range(5)),
        *(signup(n, plan="gold", firstName="Ada", address={"city": "Example"}) for n in range(20)),
        {"type": "page", "name": "Letters of Ada Example", "userId": "u-1", "properties": {"path": "/a"}},
        {"type": "track", "event": "Ada’s letters: no. 42", "userId": "u-1"},
        {"type": "group", "groupId": "g-1", "userId": "u-1", "traits": {"plan": "x", "seats": 3}},
    )
    found = caller.api("GET", "/sources/test-server/catalogue")
    assert (found["source"], found["kind"], found["trust"]) == ("test-server", "server", 30)
    events = {(one["type"], one["name"]): one for one in found["events"]}
    order, person = fields(events["track", "Order Completed"]), fields(events["identify", None])
    assert events["track", "Order Completed"]["seen"] == 20
    assert {name: (one["share"], one["types"]) for (_, name), one in order.items()} == {
        "order_id": (1.0, {"string": 15, "number": 5}),
        "revenue": (0.75, {"number": 15}),
        "couponCode": (0.75, {"null": 15}),
        "products": (0.25, {"list": 5}),
    }
    revenue = order["properties", "revenue"]
    assert (revenue["first_seen"], revenue["last_seen"]) == ("2026-03-01T12:00:00Z",) * 2
    assert order["properties", "products"]["first_seen"] == "2026-03-01T12:01:30Z"
    assert (revenue["category"], revenue["protection"]) == ("user.behavior.purchase_history", "clear")
    plan = person["traits", "plan"]
    assert (plan["category"], plan["protection"], plan["trust"]) == ("user.account", "clear", 30)
    assert (person["traits", "firstName"]["category"], person["traits", "firstName"]["trust"]) == (
        "user.name.first",
        None,
    )
    assert person["traits", "address.city"]["types"] == {"string": 20}
    assert fields(events["group", None])["traits", "plan"]["category"] is None  # a group's, nobody's
    every = fields(events[None, None])
    assert every["context", "page.path"]["share"] == every["context", "locale"]["share"] == round(20 / 43, 4)
    assert every["identifiers", "user_id"]["share"] == 1.0
    assert ("page", None) in events  # whose names are what titles happen to be
    told = str(found)
    assert not any(word in told for word in (*UNFIT, "letters", "gold", "/thanks", "en-GB"))
    assert_roles(caller)
    infers(caller, shell, tmp_path)


def assert_roles(caller: Caller) -> None:
    """Admins and stewards change plans, officers read; nobody else is told anything."""
    marketer, officer = (caller.officer(role, roles=(role,)) for role in ("marketer", "officer"))
    for path in ("catalogue", "plan", "plan/inferred"):
        caller.api("GET", f"/sources/test-server/{path}", key=marketer, expect=403)
        caller.api("GET", f"/sources/none/{path}", expect=404)
    caller.api("GET", "/sources/test-server/catalogue", key=officer)
    for key in (marketer, officer):
        caller.api("PUT", "/sources/test-server/plan", {"events": []}, key=key, expect=403)


def infers(caller: Caller, shell: Shell, folder: Path) -> None:
    """A plan is made of the catalogue, in a file that a person looks at, applies, and watches."""
    file = folder / "plan.yaml"
    assert shell("plan", "infer", "--source", "test-server", "--out", file).startswith(f"{file}: 4 events")
    printed = shell("plan", "apply", file, "--source", "test-server")
    assert printed == "source test-server, plan version 1: 4 events, observe, unplanned observe\n"
    held = caller.api("GET", "/sources/test-server/plan")["plan"]
    assert held == caller.api("GET", "/sources/test-server/plan/inferred")
    (order,) = (one for one in held["events"] if one.get("name") == "Order Completed")
    assert order["schema"]["required"] == ["order_id"]
    assert order["schema"]["properties"]["order_id"] == {"type": ["number", "string"]}
    (person,) = (one for one in held["events"] if one["type"] == "identify")
    assert person["schema"]["properties"]["address"] == {
        "type": "object",
        "properties": {"city": {"type": "string"}},
    }
    caller.services.plans.judges.refresh()
    caller.send(track(1, order_id=1), signup(1, plan=7))
    caller.api("GET", "/sources/test-server/plan")
    seen = msgspec.json.decode(shell("plan", "violations", "--source", "test-server", "--json"))
    assert [(one["event"], one["place"], one["kind"], one["seen"]) for one in seen] == [
        ("identify", "traits.address", "required", 1),
        ("identify", "traits.firstName", "required", 1),
        ("identify", "traits.plan", "type", 1),
    ]
    caller.api("GET", "/sources/test-server/catalogue")
    table = shell("source", "catalogue", "test-server")
    assert "track Order Completed" in table
    assert "of 21" in table
    file.write_text(file.read_text().replace("type: object", "type: objekt", 1))
    assert f"{file}:6: " in shell("plan", "apply", file, "--source", "test-server", expect=1)
    shell("plan", "remove", "--source", "test-server")
    assert "no tracking plan" in shell("plan", "show", "--source", "test-server", expect=1)
