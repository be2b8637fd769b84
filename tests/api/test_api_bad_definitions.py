"""What no definition is, and hostile words in a good one, over HTTP on both stores."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller
from httpx import Response
from prometheus_client import REGISTRY

ORDER = "Order Completed"
SECRET = "jane.roe@mail.example"  # nothing that was given is repeated
DEEP: Any = {"event": ORDER}
for _ in range(500):
    DEEP = {"not": DEEP}
SEALED = "is sealed (category"
DECLARE = "in policies/fields.yaml"
Refused = list[tuple[Any, list[str]]]

NAMES: Refused = [
    ({"trait": "contry", "op": "exists"}, ["where.trait", "not declared", "did you mean country?"]),
    ({"trait": "c\u043euntry", "op": "exists"}, ["where.trait", "did you mean country?"]),  # a Cyrillic o
    ({"trait": SECRET, "op": "exists"}, ["where.trait", "not declared"]),
    ({"trait": "country", "op": SECRET}, ["where.op", "one of: eq"]),
    ({"event": ORDER, SECRET: 1}, ["where", "no key"]),
    ({"segment": "nobody"}, ["there is no segment nobody; apply it first"]),
    ({"list": "nobody"}, ["there is no list nobody; import it first"]),
    ({"segment": "'; DROP TABLE segments --"}, ["where.segment", "lower-case"]),
]
SEALED_OR_UNDECLARED: Refused = [
    ({"trait": "email", "op": "exists"}, ["trait email", SEALED, "user.contact.email", DECLARE]),
    ({"trait": "birthday", "op": "exists"}, ["trait birthday", SEALED, "generalisation"]),
    ({"trait": "likely_pregnant", "op": "exists"}, ["likely_pregnant", SEALED, "user.inferred.health"]),
    ({"trait": "shoe_size", "op": "exists"}, ["not declared", "declare it under traits", DECLARE]),
    (
        {"event": ORDER, "where": [{"property": "note", "op": "exists"}]},
        ["where.where[0].property", "declare it under properties", DECLARE],
    ),
    ({"event": ORDER, "where": [{"property": "query", "op": "exists"}]}, ["property query", SEALED]),
    ({"event": ORDER, "where": [{"property": "context.ip", "op": "exists"}]}, ["context.ip", SEALED]),
    ({"event": ORDER, "sum": {"property": "reason", "gte": 1}}, ["where.sum.property", SEALED]),
    ({"event": ORDER, "last": {"property": "products", "eq": "x"}}, ["is a list"]),
    ({"sequence": [{"event": ORDER}, {"event": ORDER, "where": [{"property": "query", "op": "exists"}]}]},
     ["where.sequence[1].where[0].property", SEALED]),
]  # fmt: skip
TYPES: Refused = [
    ({"trait": "country", "op": "eq", "value": 5}, ["where.value", "text"]),
    ({"trait": "country", "op": "lt", "value": "x"}, ["where.op"]),
    ({"trait": "order_count", "op": "gt", "value": SECRET}, ["where.value", "number"]),
    ({"trait": "email_verified", "op": "eq", "value": "true"}, ["true or false"]),
    ({"trait": "created_at", "op": "gt", "value": "today"}, ["one instant"]),
    ({"event": ORDER, "count": {"gte": "many"}}, ["where.count.gte", "number"]),
    ({"event": ORDER, "sum": {"property": "order_id", "gte": 1}}, ["type number"]),
    ({"event": ["a"]}, ["where.event", "text"]),
    ({"sequence": {"event": ORDER}}, ["where.sequence", "list"]),
    ({"all": "everybody"}, ["where.all", "list"]),
    ("everybody", ["where", "map"]),
]
AMOUNTS: Refused = [
    (DEEP, ["nested deeper than 50 levels"]),
    ({"any": [{"event": ORDER}] * 10_000}, ["where.any[1000]", "more than 1000 conditions"]),
    ({"event": ORDER, "where": [{"property": "total", "op": "exists"}] * 10_000}, ["more than 1000"]),
    ({"trait": "country", "op": "in", "value": ["x"] * 10_000}, ["1 to 1000 values"]),
    ({"sequence": [{"event": ORDER}] * 10_000}, ["1 to 20 steps"]),
    ({"trait": "country", "op": "eq", "value": "x" * 100_000}, ["where.value", "1000 characters"]),
    ({"event": "x" * 100_000}, ["where.event", "1000 characters"]),
    ({"trait": "x" * 100_000, "op": "exists"}, ["not declared"]),
    ({"trait": "order_count", "op": "gt", "value": 10**400}, ["where.value", "out of range"]),
    ({"event": ORDER, "within": "99999999d"}, ["where.within"]),
    ({"event": ORDER, "from": "10000-01-01"}, ["where.from"]),
    ({"event": ORDER, "from": "today-9999y"}, ["where.from"]),
]


def put(caller: Caller, name: str, body: str | bytes) -> Response:
    headers = {"Authorization": f"Bearer {caller.operator_key}"}
    return caller.http.put(f"/api/v1/segments/{name}", headers=headers, content=body)


def happened(caller: Caller, *events: tuple[str, str, dict[str, Any]]) -> None:
    caller.send(
        *(
            {"type": "track", "userId": user, "event": name, "properties": more}
            for user, name, more in events
        ),
        wait=True,
    )


def count(caller: Caller, where: Any) -> int:
    counted = caller.api("POST", "/segments/preview", {"where": where})["count"]
    assert isinstance(counted, int)
    return counted


@pytest.mark.parametrize(
    "cases", [NAMES, SEALED_OR_UNDECLARED, TYPES, AMOUNTS], ids=["names", "sealed", "types", "amounts"]
)
def test_it_is_refused_with_its_place_and_what_to_do_and_nothing_is_stored(
    caller: Caller, cases: Refused
) -> None:
    happened(caller, ("ada", ORDER, {}))
    for where, said in cases:
        for method, path in (("PUT", "/segments/bad"), ("POST", "/segments/preview")):
            problem = caller.api(method, path, {"where": where}, expect=400)
            assert problem["type"] == "/problems/invalid-definition", problem
            for part in said:
                assert part in problem["detail"], (part, problem)
            assert "jane" not in problem["detail"]
            assert len(problem["detail"]) < 600
    assert caller.api("GET", "/segments")["items"] == []


def test_what_no_json_can_say_is_refused_before_it_is_looked_at(caller: Caller) -> None:
    value = '{"where": {"trait": "order_count", "op": "gt", "value": %s}}'
    text = '{"where": {"event": "%s"}}'
    bodies: list[str | bytes] = [
        *(value % number for number in ("NaN", "Infinity", "-Infinity", "1e999", "0x10", "01", "1_000")),
        *(text % word for word in ("\\ud800", "\\udc00\\ud800", "\\u0000", "a\nb", "\\x41")),
        text.encode() % b"\xed\xa0\x80",  # the same half of a pair, as bytes
        text.encode() % b"\xff",
        "where: {event: Order Completed}",  # YAML is for files
        "where: [&a x, *a]",
        "[]", "null", "7", "", "{", '{"where": {}} {"where": {}}',
    ]  # fmt: skip
    for body in bodies:
        answer = put(caller, "bad", body)
        assert answer.status_code == 400, (body, answer.text)
        assert answer.json()["type"] in {"/problems/malformed-body", "/problems/invalid-input"}, body
    assert caller.api("GET", "/segments")["items"] == []


def test_a_circle_is_refused_and_what_was_stored_before_stays(caller: Caller) -> None:
    happened(caller, ("ada", ORDER, {}))
    caller.api("PUT", "/segments/a", {"where": {"event": ORDER}})
    caller.api("PUT", "/segments/b", {"where": {"not": {"segment": "a"}}})
    caller.api("PUT", "/segments/c", {"where": {"any": [{"segment": "b"}, {"event": ORDER}]}})
    for name, circle in (("a", "a → c → b → a"), ("b", "b → c → b"), ("c", "c → c")):
        problem = caller.api("PUT", f"/segments/{name}", {"where": {"not": {"segment": "c"}}}, expect=400)
        assert circle in problem["detail"]
    assert caller.api("GET", "/segments/a")["version"] == 1
    assert [caller.api("GET", f"/segments/{name}")["count"] for name in "abc"] == [1, 0, 1]


def test_no_name_of_a_segment_is_a_path_or_a_statement(caller: Caller) -> None:
    for name in ("A", "a'--", "%27%20OR%201=1", "a%00b", "..%2F..%2Fkeys", "%ED%A0%80", "\u0430", "x" * 101):
        assert put(caller, name, '{"where": {"event": "A"}}').status_code in {400, 404}, name
    assert caller.api("GET", "/segments")["items"] == []


WORDS = [
    "A", " A", "A ", "a", "\u0410", "\uff21", "A\u200b", "\u202eA",  # Cyrillic, full-width, unseen
    "\u00e9", "e\u0301", "ﬁ", "fi", "ß", "ss", "İ", "i\u0307",
    "'", "''", '"', "\\", "\\'", "`", "%", "_", "A%", "*", ";", "--", "/*", "$1", "?", ":a", "{{A}}", "${A}",
    "'; DROP TABLE events --", "' OR '1'='1", "1); DELETE FROM segments; --", "A' UNION SELECT 1 --",
    "null", "NaN", "true", "\U0001f9ff", "\uffff", "x" * 200,
]  # fmt: skip


def test_hostile_words_are_words_and_none_is_another(caller: Caller) -> None:
    """As the name of an event, and as a value that a property is compared with, each finds its own person."""
    happened(
        caller,
        *((f"named-{place}", word, {}) for place, word in enumerate(WORDS)),
        *((f"said-{place}", ORDER, {"order_id": word}) for place, word in enumerate(WORDS)),
    )
    half = len(WORDS) // 2
    for word in WORDS:
        said = {"property": "order_id", "op": "eq", "value": word}
        assert count(caller, {"event": word}) == 1, word
        assert count(caller, {"event": ORDER, "where": [said]}) == 1, word
    several = {"property": "order_id", "op": "in", "value": WORDS[:half]}
    assert count(caller, {"event": ORDER, "where": [several]}) == half
    assert count(caller, {"any": [{"event": word} for word in WORDS[half:]]}) == len(WORDS) - half
    assert count(caller, {"event": ORDER}) == len(WORDS), "all of it is still there"


def test_a_property_that_is_a_number_in_some_events_and_a_text_in_others(caller: Caller) -> None:
    """It is what it is declared to be; a value that is not is sealed, not compared, and counted."""
    columns = ["revenue", "order_id"]
    before = [REGISTRY.get_sample_value("cdp_ingest_mistyped_total", {"column": one}) or 0 for one in columns]
    amounts = [5, 2.5, "5", "twelve", True, None, [5], {"amount": 5}]
    happened(caller, *((f"u{place}", ORDER, {"revenue": value}) for place, value in enumerate(amounts)))
    happened(caller, ("mixed", ORDER, {"revenue": 5}), ("mixed", ORDER, {"revenue": "100"}))
    happened(caller, ("text", ORDER, {"order_id": 17}), ("text", ORDER, {"order_id": "17"}))
    revenue = {"event": ORDER, "where": [{"property": "revenue", "op": "exists"}]}
    assert count(caller, revenue) == 3
    assert count(caller, {"event": ORDER, "sum": {"property": "revenue", "eq": 5}}) == 2  # not 105
    assert count(caller, {"event": ORDER, "where": [{"property": "revenue", "op": "ne", "value": 5}]}) == 1
    seventeen = {"property": "order_id", "op": "eq", "value": "17"}
    assert count(caller, {"event": ORDER, "count": {"eq": 1}, "where": [seventeen]}) == 1
    assert (
        count(caller, {"event": ORDER, "count": {"eq": 2}}) == 2
    )  # of no event less is known than it is one
    told = [REGISTRY.get_sample_value("cdp_ingest_mistyped_total", {"column": one}) or 0 for one in columns]
    assert [now - then for now, then in zip(told, before, strict=True)] == [6, 1]
    found = caller.lookup("user_id", "u3")["id"]
    (event,) = caller.api("GET", f"/profiles/{found}/events", purpose="data_quality")["items"]
    assert (event["properties"], event["masked_fields"]) == ({}, ["*"])
