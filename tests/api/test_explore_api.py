"""Exploring by REST: who may see which numbers how exactly, what it costs, and what is on record."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from caller import Caller

from cdp.segments import PER_DAY

GB = {"trait": "country", "op": "eq", "value": "GB"}
ORDERED = {"event": "Order Completed"}
VIEWED = {"event": "Product Viewed"}
FUNNEL: dict[str, Any] = {"sequence": [VIEWED, ORDERED]}
RETENTION: dict[str, Any] = {"start": VIEWED, "return": ORDERED, "every": "day", "periods": 1}
COUNTRIES = {"GB": 130, "FR": 40, "NO": 12, "IS": 3}


@pytest.fixture
def crowd(caller: Caller) -> Caller:
    """185 people in four countries; two thirds viewed something, a third ordered it later."""
    messages: list[dict[str, Any]] = []
    places = [country for country, count in COUNTRIES.items() for _ in range(count)]
    for number, country in enumerate(places):
        user = {"userId": f"u{number}"}
        traits = {"country": country, "email_verified": number % 2 == 0}
        messages.append({"type": "identify", "messageId": f"i{number}", **user, "traits": traits})
        for event, wanted, when in (("Product Viewed", 3, "09"), ("Order Completed", 1, "10")):
            if number % 3 < wanted - (event == "Product Viewed"):
                stamp = {"timestamp": f"2026-02-28T{when}:00:00Z"}
                named = {"type": "track", "event": event, "messageId": f"{event}{number}"}
                messages.append({**named, **user, **stamp})
    caller.send(*messages, wait=True)
    caller.api("PUT", "/segments/britons", {"where": GB})
    caller.api("PUT", "/segments/buyers", {"where": ORDERED})
    return caller


@pytest.fixture
def marketer(crowd: Caller) -> str:
    body = {"name": "m", "roles": ["marketer"], "purposes": ["*"]}
    key: str = crowd.api("POST", "/keys", body)["key"]
    return key


def spent(caller: Caller) -> int:
    services = caller.services
    with services.committer.batch(head_first=True) as batch:
        return services.counting.charge(batch, "key:other", [])


def preview(caller: Caller, key: str, where: Any) -> int:
    count: int = caller.api("POST", "/segments/preview", {"where": where}, key=key)["count"]
    return count


def segment(name: str) -> dict[str, str]:
    return {"segment": name}


def test_an_officer_sees_exact_tables_and_each_is_a_use(crowd: Caller) -> None:
    found = crowd.api("POST", "/segments/overlap", {"segments": ["buyers", "britons"]})
    assert found["exact"]
    assert [one["count"] for one in found["segments"]] == [62, 130]
    assert found["pairs"] == [{"segments": ["britons", "buyers"], "count": 44, "shares": [0.3385, 0.7097]}]
    found = crowd.api("POST", "/segments/funnel", {**FUNNEL, "among": "britons"})
    assert [step["count"] for step in found["steps"]] == [87, 44]
    assert found["completed"] == {"count": 44, "share": 0.5057}
    found = crowd.api("POST", "/segments/retention", RETENTION)
    assert [(row["size"], row["returned"]) for row in found["cohorts"]] == [(124, [62, 0]), (0, [0, None])]
    found = crowd.api("GET", "/segments/buyers/portrait?traits=country,email_verified")
    (country, verified) = found["attributes"]
    assert {one["value"]: one["everyone"] for one in country["values"]} == COUNTRIES
    assert {one["value"]: one["count"] for one in verified["values"]} == {True: 31, False: 31}
    assert (country["values"][0]["index"], found["left_out"]) == (1.01, [])
    for action in ("overlap", "funnel", "retention", "portrait"):
        (entry,) = crowd.api("GET", f"/audit?action=segment.{action}")["items"]
        assert (entry["purpose"], entry["outcome"]) == ("segmentation", "allowed")
        assert entry["people"]["members"] > 10
    assert spent(crowd) == 0


def test_history_is_for_those_who_define_and_no_use_of_anybodys_data(crowd: Caller, marketer: str) -> None:
    crowd.api("PUT", "/segments/britons", {"where": {**GB, "value": "FR"}}, key=marketer)
    crowd.api("DELETE", "/segments/britons")
    before = crowd.api("GET", "/audit?limit=500")["items"]
    first = crowd.api("GET", "/segments/britons/history?limit=2", key=marketer)
    (deleted, changed) = first["items"]
    assert (deleted["version"], deleted["deleted"], changed["version"]) == (3, True, 2)
    assert changed["changes"] == [{"place": "where.value", "change": "changed", "from": "GB", "to": "FR"}]
    assert changed["created_by"].startswith("key:")
    rest = crowd.api("GET", f"/segments/britons/history?limit=2&cursor={first['next']}")
    assert ([one["version"] for one in rest["items"]], rest["next"]) == ([1], None)
    assert rest["items"][0]["changes"] == []
    crowd.api("GET", "/segments/nobody/history", expect=404)
    told = [entry for entry in crowd.api("GET", "/audit?limit=500")["items"] if entry not in before]
    assert {entry["action"] for entry in told} <= {"audit.search", "segment.follow"}


def test_no_other_role_explores(crowd: Caller) -> None:
    for role in ("steward", "admin"):
        key = crowd.officer(role, roles=(role,))
        crowd.api("GET", "/segments/britons/history", key=key, expect=403)
        crowd.api("GET", "/segments/britons/portrait", key=key, expect=403)
        for path, body in (
            ("overlap", {"segments": ["a", "b"]}),
            ("funnel", FUNNEL),
            ("retention", RETENTION),
        ):
            crowd.api("POST", f"/segments/{path}", body, key=key, expect=403)


def test_the_same_question_has_the_same_noise_wherever_it_is_asked(crowd: Caller, marketer: str) -> None:
    """Else a table would give a second look at a number, and averaging would begin."""
    found = crowd.api("POST", "/segments/overlap", {"segments": ["buyers", "britons"]}, key=marketer)
    assert not found["exact"]
    sizes = {one["name"]: one["count"] for one in found["segments"]}
    for name, count in sizes.items():
        assert crowd.api("GET", f"/segments/{name}", key=marketer)["count"] == count
    both = {"all": [segment("britons"), segment("buyers")]}
    assert preview(crowd, marketer, both) == found["pairs"][0]["count"]
    found = crowd.api("POST", "/segments/funnel", {**FUNNEL, "among": "britons"}, key=marketer)
    for place, step in enumerate(found["steps"], 1):
        part = {"all": [segment("britons"), {"sequence": FUNNEL["sequence"][:place]}]}
        assert preview(crowd, marketer, part) == step["count"]
    found = crowd.api("GET", "/segments/buyers/portrait?traits=country", key=marketer)
    (country,) = found["attributes"]
    known = {"trait": "country", "op": "exists"}
    shown = [{**GB, "value": one["value"]} for one in country["values"]]
    other = {"all": [known, {"not": {"any": shown}}]} if shown else known
    for cell, where in zip(
        [*country["values"], country["other"], country["none"]],
        [*shown, other, {"not": known}],
        strict=True,
    ):
        assert cell["everyone"] == preview(crowd, marketer, where)
        assert cell["count"] == preview(crowd, marketer, {"all": [segment("buyers"), where]})


def test_what_a_table_costs_and_that_the_same_again_is_free(crowd: Caller, marketer: str) -> None:
    asked: list[tuple[str, str, Any, int]] = [
        ("POST", "/segments/overlap", {"segments": ["buyers", "britons"]}, 3),
        ("POST", "/segments/funnel", FUNNEL, 2),
        ("POST", "/segments/retention", {**RETENTION, "from": "2026-02-27"}, 6),  # three columns of three
        ("GET", "/segments/buyers/portrait?traits=country", None, 1 + 2 + 1 + 2),  # the segment was counted
        ("GET", "/segments/britons/portrait?traits=country", None, 2),  # and so was everyone
    ]
    for method, path, body, cost in asked:
        before = spent(crowd)
        first = crowd.api(method, path, body, key=marketer)
        assert spent(crowd) - before == cost, path
        again = crowd.api(method, path, body, key=marketer)
        assert {**again, "as_of": 0} == {**first, "as_of": 0}
        assert spent(crowd) - before == cost, path
    assert crowd.api("GET", "/audit?action=segment.count")["items"][0]["object"]["of"] == "portrait"


def test_a_table_that_the_day_has_not_enough_for_is_refused_whole(crowd: Caller, marketer: str) -> None:
    services = crowd.services
    with services.committer.batch(head_first=True) as batch:
        services.counting.charge(batch, "key:0", [f"other {number}" for number in range(PER_DAY - 1)])
    for path, body in (
        ("overlap", {"segments": ["buyers", "britons"]}), ("funnel", FUNNEL), ("retention", RETENTION)
    ):  # fmt: skip
        crowd.api("POST", f"/segments/{path}", body, key=marketer, expect=429)
    crowd.api("GET", "/segments/buyers/portrait?traits=country", key=marketer, expect=429)
    assert spent(crowd) == PER_DAY - 1
    counts = crowd.api("GET", "/audit?action=segment.count")["items"]
    denied = [item for item in counts if item["outcome"] == "denied"]
    assert [item["object"]["reason"] for item in denied] == ["count_budget"] * 4
    for number in range(11):
        crowd.api("PUT", f"/segments/s{number}", {"where": {"event": f"E{number}"}})
    wide = {"segments": [f"s{number}" for number in range(11)]}
    problem = crowd.api("POST", "/segments/overlap", wide, key=marketer, expect=403)
    assert "66 counts" in problem["detail"]
    assert len(crowd.api("POST", "/segments/overlap", wide)["pairs"]) == 55


def test_no_table_is_a_look_up(crowd: Caller, marketer: str) -> None:
    listed = {"kind": "grey", "members": [{"type": "user_id", "value": "u1"}]}
    crowd.api("PUT", "/lists/one", listed)
    crowd.api("PUT", "/segments/one", {"where": {"list": "one"}})
    crowd.api("PUT", "/segments/hidden", {"where": {"any": [{"segment": "one"}, GB]}})
    for method, path, body in (
        ("POST", "/segments/overlap", {"segments": ["britons", "hidden"]}),
        ("POST", "/segments/funnel", {**FUNNEL, "among": "hidden"}),
        ("GET", "/segments/hidden/portrait?traits=country", None),
    ):
        assert "officers" in crowd.api(method, path, body, key=marketer, expect=403)["detail"]
        crowd.api(method, path, body)
    assert spent(crowd) == 0


def test_a_portrait_with_noise_names_its_traits_and_shows_no_rare_value(crowd: Caller, marketer: str) -> None:
    for query in ("", "?traits=", "?traits=" + ",".join(f"t{number}" for number in range(11))):
        crowd.api("GET", f"/segments/buyers/portrait{query}", key=marketer, expect=403)
    crowd.api("GET", "/segments/buyers/portrait?traits=email", key=marketer, expect=400)
    told = crowd.api("GET", "/segments/buyers/portrait?traits=country", key=marketer)
    assert '"IS"' not in msgspec.json.encode(told).decode()  # three people, whatever the noise
    exactly = crowd.api("GET", "/segments/buyers/portrait")
    names = {one["name"] for one in exactly["attributes"]}
    assert {"country", "plan", "email_verified", "created_at", "order_count"} <= names
    assert names.isdisjoint({"email", "first_name", "phone", "birthday"})  # sealed, or they name people


def test_a_portrait_leaves_out_what_the_policies_keep_from_segments(
    crowd: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = crowd.services.segments._definitions._unreadable

    def unreadable(categories: frozenset[str]) -> frozenset[str]:
        return kept(categories) | (categories & {"user.account"})

    monkeypatch.setattr(crowd.services.segments._definitions, "_unreadable", unreadable)
    found = crowd.api("GET", "/segments/buyers/portrait")
    assert {"plan", "created_at", "email_verified"} <= set(found["left_out"])
    assert {"country"} <= {one["name"] for one in found["attributes"]}
    assert {one["name"] for one in found["attributes"]}.isdisjoint(found["left_out"])


def test_restrained_people_are_in_no_table(crowd: Caller) -> None:
    for number in (0, 3):
        person = [{"type": "user_id", "value": f"u{number}"}]
        body = {"identifiers": person, "purpose": "segmentation", "state": "objected"}
        crowd.api("POST", "/consents", body)
    found = crowd.api("POST", "/segments/overlap", {"segments": ["buyers", "britons"]})
    assert (found["pairs"][0]["count"], found["segments"][1]["count"]) == (42, 128)
    found = crowd.api("POST", "/segments/funnel", FUNNEL)
    assert [step["count"] for step in found["steps"]] == [122, 60]
    found = crowd.api("POST", "/segments/retention", RETENTION)
    assert (found["cohorts"][0]["size"], found["cohorts"][0]["returned"][0]) == (122, 60)
    found = crowd.api("GET", "/segments/buyers/portrait?traits=country")
    assert found["attributes"][0]["values"][0]["everyone"] == 128


def test_nothing_is_explored_while_nothing_may_be_evaluated(crowd: Caller) -> None:
    officer = crowd.officer("first")
    switch = {"enabled": False, "reason": "suspected_breach"}
    crowd.api("POST", "/destinations/controller/switch", switch, key=officer)
    for method, path, body in (
        ("POST", "/segments/overlap", {"segments": ["buyers", "britons"]}),
        ("POST", "/segments/funnel", FUNNEL),
        ("POST", "/segments/retention", RETENTION),
        ("GET", "/segments/buyers/portrait", None),
    ):
        problem = crowd.api(method, path, body, key=officer, expect=403)
        assert "controller is switched off" in problem["detail"]


def test_mistakes_are_named(crowd: Caller) -> None:
    crowd.api("POST", "/segments/overlap", {"segments": ["buyers"]}, expect=400)
    crowd.api("POST", "/segments/overlap", {"segments": ["buyers", "nobody"]}, expect=404)
    crowd.api("POST", "/segments/overlap", {"names": ["buyers", "britons"]}, expect=400)
    problem = crowd.api("POST", "/segments/funnel", {"sequence": [{"event": ""}]}, expect=400)
    assert problem["detail"].startswith("sequence[0].event: ")
    problem = crowd.api("POST", "/segments/funnel", {**FUNNEL, "among": "nobody"}, expect=400)
    assert "no segment nobody" in problem["detail"]
    problem = crowd.api("POST", "/segments/retention", {**RETENTION, "periods": 53}, expect=400)
    assert problem["detail"].startswith("periods: ")
    crowd.api("GET", "/segments/nobody/portrait", expect=404)
