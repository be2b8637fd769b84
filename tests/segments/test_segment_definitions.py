"""What a definition may say, and how a wrong one is refused: with its place, without its values."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from population import catalogue, rule

from cdp.clock import DAY
from cdp.errors import DefinitionError
from cdp.segments import Definition, classified, closure, parse, reads
from cdp.segments.definition import All, Any_, Event, Not, Sample, SegmentOf, TagOf, Trait

FIELDS = catalogue(
    properties=[
        rule("revenue", "number"),
        rule("sku"),
        rule("gift", "boolean"),
        rule("ship_at", "time"),
        rule("products", "list"),
        rule("note", clear=False, category="user.content.private"),
    ],
    traits=[
        rule("country", category="user.location"),
        rule("age", "number", category="user.demographic.age_range"),
        rule("since", "time", category="user.account"),
        rule("email", clear=False, category="user.contact.email"),
    ],
    context=[rule("page.path", category="user.behavior.browsing_history")],
    events={"Order Completed": "user.behavior.purchase_history", "page": "user.behavior.browsing_history"},
)
EXAMPLE = """
name: lapsed-good-customers
description: Bought at least twice in half a year, nothing for two months
where:
  all:
    - {trait: country, op: eq, value: United Kingdom}
    - {event: Order Completed, count: {gte: 2}, within: 180d}
    - {event: Order Completed, sum: {property: revenue, gte: 200}, within: 365d}
    - not: {event: Order Completed, within: 60d}
    - any:
        - {segment: newsletter}
        - not: {list: staff}
        - {sample: 0.1}
"""


def refused(source: Any, *said: str) -> str:
    with pytest.raises(DefinitionError) as caught:
        parse(source, FIELDS, "")
    for part in said:
        assert part in caught.value.message
    return caught.value.message


def where(leaf: Any) -> dict[str, Any]:
    return {"where": leaf}


def test_the_example_reads_the_same_as_yaml_json_and_data() -> None:
    definition = parse(EXAMPLE, FIELDS)
    assert definition.name == "lapsed-good-customers"
    assert isinstance(definition.where, All)
    trait, often, rich, lapsed, either = definition.where.parts
    assert isinstance(trait, Trait)
    assert (trait.name, trait.op, trait.value) == ("country", "eq", "United Kingdom")
    assert isinstance(often, Event)
    assert often.within == 180 * DAY
    assert isinstance(rich, Event)
    assert rich.aggregate is not None
    assert (rich.aggregate.function, rich.aggregate.value) == ("sum", 200.0)
    assert isinstance(lapsed, Not)
    assert isinstance(either, Any_)
    assert either.parts[2] == Sample(0.1, "lapsed-good-customers")
    assert parse(json.dumps(definition.source), FIELDS) == definition
    assert parse(json.dumps(definition.source).encode(), FIELDS) == definition
    assert parse(definition.source, FIELDS) == definition
    assert parse(definition, FIELDS) == definition


def test_a_plain_word_stays_a_word() -> None:
    """YAML 1.1 would read Norway as false and a version as a date."""
    for text in ("no", "NO", "on", "2024-05-01", "1_000", "0x10", ".inf", "12:30"):
        definition = parse(f"where: {{trait: country, op: eq, value: {text}}}", FIELDS, "")
        assert isinstance(definition.where, Trait)
        assert definition.where.value == text
    quoted = parse("where: {trait: country, op: eq, value: '12'}", FIELDS, "")
    assert isinstance(quoted.where, Trait)
    assert quoted.where.value == "12"


@pytest.mark.parametrize(
    ("leaf", "said"),
    [
        (
            {"trait": "contry", "op": "eq", "value": "x"},
            ["where.trait", "not declared", "did you mean country"],
        ),
        ({"trait": "email", "op": "eq", "value": "x"}, ["sealed", "user.contact.email", "fields.yaml"]),
        ({"trait": "country", "op": "lt", "value": "x"}, ["where.op", "one of: eq"]),
        ({"trait": "country", "op": "eq", "value": 3}, ["where.value", "text"]),
        ({"trait": "country", "op": "eq"}, ["needs the key value"]),
        ({"trait": "country", "value": "x"}, ["where.op"]),
        ({"trait": "country", "op": "eq", "value": "x", "valeu": 1}, ["no key valeu", "did you mean value"]),
        ({"trait": ["country"], "op": "eq", "value": "x"}, ["not declared"]),
        ({"trait": "country", "op": ["eq"], "value": "x"}, ["where.op"]),
        ({"trait": "country", "op": "in", "value": "x"}, ["where.value", "list"]),
        ({"trait": "country", "op": "in", "value": []}, ["1 to 1000"]),
        ({"trait": "country", "op": "exists", "value": "yes"}, ["true, false"]),
        ({"trait": "country", "op": "eq", "value": "a\0b"}, ["NUL"]),
        ({"trait": "country", "op": "eq", "value": "\ud800"}, ["surrogate"]),
        ({"trait": "country", "op": "eq", "value": "x" * 1001}, ["1000 characters"]),
        ({"trait": "age", "op": "eq", "value": True}, ["number"]),
        ({"trait": "age", "op": "eq", "value": float("nan")}, ["out of range"]),
        ({"trait": "age", "op": "eq", "value": 10**400}, ["out of range"]),
        ({"trait": "age", "op": "between", "value": [2, 1]}, ["smaller value first"]),
        ({"trait": "age", "op": "between", "value": [1]}, ["two values"]),
        ({"trait": "since", "op": "gt", "value": "yesterday"}, ["RFC 3339"]),
        ({"trait": "since", "op": "gt", "value": "10000-01-01T00:00:00Z"}, ["RFC 3339"]),
        ({"event": ""}, ["where.event", "text"]),
        ({"event": "A", "within": "30"}, ["where.within", "30d"]),
        ({"event": "A", "within": "0d"}, ["where.within"]),
        ({"event": "A", "within": 30}, ["where.within"]),
        ({"event": "A", "within": "1d", "to": "2024-01-01"}, ["either within"]),
        ({"event": "A", "from": "2024-01-02", "to": "2024-01-02"}, ["later than from"]),
        ({"event": "A", "type": "identify"}, ["track, page or screen"]),
        ({"event": "A", "where": {"property": "sku"}}, ["where.where", "list"]),
        (
            {"event": "A", "where": [{"property": "note", "op": "exists"}]},
            ["where.where[0].property", "sealed"],
        ),
        ({"event": "A", "where": [{"property": "revenu", "op": "exists"}]}, ["did you mean revenue"]),
        ({"event": "A", "where": [{"property": "products", "op": "exists"}]}, ["is a list"]),
        ({"event": "A", "where": [{"op": "exists"}]}, ["needs the key property"]),
        ({"event": "A", "where": ["sku"]}, ["is a map"]),
        ({"event": "A", "count": {"gte": 1}, "sum": {"gte": 1}}, ["one aggregate"]),
        ({"event": "A", "count": {"property": "sku", "gte": 1}}, ["count takes no property"]),
        ({"event": "A", "count": {}}, ["needs one comparison"]),
        ({"event": "A", "count": {"gte": 1, "lt": 3}}, ["needs one comparison"]),
        ({"event": "A", "count": {"gte": "2"}}, ["where.count.gte", "number"]),
        ({"event": "A", "sum": {"property": "sku", "gte": 1}}, ["type number"]),
        ({"event": "A", "max": {"property": "sku", "gte": 1}}, ["number or a time"]),
        ({"event": "A", "last": {"property": "sku", "gte": "x"}}, ["last is compared by one of: eq"]),
        ({"event": "A", "avg": {"gte": 1}}, ["needs the key property"]),
        ({"sequence": [], "within": "30d"}, ["where.sequence", "1 to 20 steps"]),
        ({"tag": "lifecycle", "op": "like", "value": "x"}, ["op", "a tag is compared by one of", "eq"]),
        ({"tag": "lifecycle", "op": "in"}, ["in needs the key value"]),
        ({"tag": "Life Cycle", "op": "exists"}, ["tag", "lower-case"]),
        ({"segment": "Not A Name"}, ["where.segment"]),
        ({"list": None}, ["where.list"]),
        ({"sample": 0}, ["share"]),
        ({"sample": 1.5}, ["share"]),
        ({"sample": True}, ["share"]),
        ({"al": []}, ["did you mean all"]),
        ({"all": []}, ["at least one"]),
        ({"all": {}}, ["where.all", "list"]),
        ({"all": [{"event": "A"}], "any": []}, ["no key any"]),
        ({"not": [{"event": "A"}]}, ["where.not"]),
        ({}, ["one of the keys"]),
        ([], ["where"]),
        (None, ["where"]),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(leaf: Any, said: list[str]) -> None:
    refused(where(leaf), *said)


def test_a_yaml_error_names_the_line() -> None:
    refused(
        "name: a\nwhere:\n  all:\n    - {event: A}\n    - {event: B, cuont: 1}\n",
        "line 5",
        "did you mean count",
    )
    refused("where:\n  all: [\n", "line 3")
    refused("where: {event: A}\nwhere: {event: B}\n", "line 2", "twice")
    refused("a: &x [1]\nb: *x\n", "line 1", "anchors")
    refused("where: !!python/object:os.system {}", "line 1", "tags")
    refused("where: {event: A}\n--- \nwhere: {event: A}\n", "YAML")
    for nothing in ("", "   ", "#", "null", "[]", "7", b"\xff\xfe", "\x00", "where: \x07"):
        refused(nothing)


def test_no_value_is_repeated() -> None:
    secret = "jane.roe@mail.example"
    for source in (
        where({"trait": "age", "op": "eq", "value": secret}),
        where({"trait": secret, "op": "eq", "value": 1}),
        where({"trait": "country", "op": secret, "value": 1}),
        where({secret: 1}),
        where({"event": "A", "within": secret}),
        where({"event": "A", "where": [{"property": secret, "op": "exists"}]}),
        where({"event": "A", "from": secret}),
        where({"segment": secret}),
        {"where": {"event": "A"}, secret: 1},
        {"name": secret, "where": {"event": "A"}},
        f"where: {{{secret}: [}}",
        f"{secret}: [",
    ):
        assert "jane" not in refused(source)


def test_too_much_is_refused_quickly() -> None:
    started = time.process_time()
    deep: Any = {"event": "A"}
    for _ in range(500):
        deep = {"not": deep}
    refused(where(deep), "nested deeper than 50")
    refused(json.dumps(where(deep)), "nested deeper than 50")
    refused("where: " + "{not: " * 500 + "{event: A}" + "}" * 500, "nested")
    refused("where: " + "[" * 100_000, "nested")
    refused("{" * 100_000)
    refused('{"a":' * 100_000)
    many = where({"any": [{"event": "A"}] * 10_000})
    refused(many, "more than 1000 conditions")
    refused(json.dumps(many), "more than 1000 conditions")
    refused("where:\n  any:\n" + "    - {event: A}\n" * 10_000, "more than 1000 conditions")
    refused(where({"event": "A", "where": [{"property": "sku", "op": "exists"}] * 1001}), "more than 1000")
    refused("#" * (513 * 1024), "bytes")
    assert time.process_time() - started < 60  # a runaway, not a measurement
    assert parse(where({"any": [{"event": "A"}] * 1000}), FIELDS, "")
    flat: Any = {"event": "A"}
    for _ in range(48):
        flat = {"not": flat}
    assert parse(where({"all": [flat]}), FIELDS, "")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["all", "any", "not", "trait", "event", "where", "op", "value", "count", "within", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150)
@given(json_values)
def test_anything_else_is_one_clear_refusal(data: Any) -> None:
    with contextlib.suppress(DefinitionError):
        assert isinstance(parse({"where": data}, FIELDS, ""), Definition)


@settings(max_examples=150)
@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_text_is_one_clear_refusal(text: str | bytes) -> None:
    with pytest.raises(DefinitionError):
        parse(text, FIELDS, "")


def test_circles_are_found_at_any_distance() -> None:
    known = {
        "a": parse(where({"segment": "b"}), FIELDS, "a"),
        "b": parse(where({"not": {"segment": "c"}}), FIELDS, "b"),
        "c": parse(where({"event": "A"}), FIELDS, "c"),
        "self": parse(where({"segment": "self"}), FIELDS, "self"),
    }

    def named(leaf: SegmentOf | TagOf) -> Definition:
        if leaf.name not in known:
            raise DefinitionError(f"where: there is no segment {leaf.name}")
        return known[leaf.name]

    assert set(closure(known["a"], named)) == {SegmentOf("b"), SegmentOf("c")}
    known["c"] = parse(where({"any": [{"event": "A"}, {"segment": "a"}]}), FIELDS, "c")
    with pytest.raises(DefinitionError, match="a → b → c → a"):
        closure(known["a"], named)
    with pytest.raises(DefinitionError, match="self → self"):
        closure(known["self"], named)
    with pytest.raises(DefinitionError, match="no segment gone"):
        closure(parse(where({"segment": "gone"}), FIELDS, ""), named)


def test_categories_go_through_nesting_and_negation() -> None:
    known = {
        "old": parse(where({"not": {"trait": "age", "op": "lt", "value": 60}}), FIELDS, "old"),
        "middle": parse(where({"not": {"segment": "old"}}), FIELDS, "middle"),
    }
    parts = [
        {"not": {"segment": "middle"}},
        {"trait": "country", "op": "exists"},
        {"event": "A", "where": [{"property": "context.page.path", "op": "eq", "value": "/"}]},
        {"event": "A", "last": {"property": "sku", "eq": "x"}},
        {"not": {"list": "staff"}},
        {"list": "plain"},
        {"sample": 0.5},
    ]
    definition = parse(where({"all": parts}), FIELDS, "")

    def categories(definition: Definition) -> frozenset[str]:
        return classified(
            reads([definition, *closure(definition, lambda leaf: known[leaf.name]).values()]),
            FIELDS,
            {"staff": "user.workplace"},
        )

    assert categories(definition) == {
        "user.demographic.age_range",
        "user.location",
        "user.behavior",
        "user.behavior.browsing_history",
        "user.behavior.purchase_history",
        "user.workplace",
        "user.unique_id",
    }
    assert categories(parse(where({"event": "A"}), FIELDS, "")) == {"user.behavior"}
    ordered = parse(where({"not": {"event": "Order Completed"}}), FIELDS, "")
    assert categories(ordered) == {"user.behavior.purchase_history"}
    page = parse(where({"event": "Some Page", "type": "page"}), FIELDS, "")
    assert categories(page) == {"user.behavior.browsing_history"}


def test_the_shape_of_a_file_on_disk(tmp_path: Path) -> None:
    file = tmp_path / "segment.yaml"
    file.write_text(EXAMPLE)
    assert parse(file.read_bytes(), FIELDS).description.startswith("Bought")
