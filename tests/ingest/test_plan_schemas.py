"""What an operator may write in a plan; what is refused, and where. Nothing is fetched, nothing hangs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdp.access import Source
from cdp.errors import DefinitionError
from cdp.ingest import Delivery, Event, Message
from cdp.ingest.plans.judge import Judge, Verdict
from cdp.ingest.plans.read import MAX_BYTES, read_plan
from cdp.ingest.plans.schema import MAX_DEPTH, MAX_PATTERN, MOST
from cdp.segments import read

EXAMPLES = Path(__file__).parents[2] / "examples" / "plans"
SCHEMA = "events[0].schema"
SOURCE = Source(source_id=1, name="shop", kind="server", enabled=True)


def event(properties: dict[str, Any], raw: bytes = b"{}") -> Event:
    """Return an event of a plainly fictional customer."""
    delivery = Delivery(source=SOURCE, messages=(raw,), received_at=0)
    return Event(
        message=Message(delivery, raw, 1),
        event_id=b"",
        day=0,
        type="track",
        name="Seen",
        identifiers=(("user_id", "u-1"),),
        occurred_at=0,
        stamped_at=0,
        properties=properties,
        traits={},
        context={},
        rest={},
        statements=(),
    )


def plan(schema: object, **more: Any) -> dict[str, Any]:
    """Return a plan of one event."""
    return {"events": [{"type": "track", "name": "Seen", "schema": schema}]} | more


def judged(schema: dict[str, Any], properties: dict[str, Any], raw: bytes = b"{}", **more: Any) -> list[str]:
    """Return in what ways properties do not fit a schema."""
    verdict: Verdict | None = Judge(read_plan(plan(schema, **more)), 1)(event(properties, raw))
    return [] if verdict is None else [f"{one.place} {one.kind}" for one in verdict.violations]


@pytest.fixture
def listening() -> Iterator[tuple[str, socket.socket]]:
    """A port of this machine on which nobody may knock."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/schema.json", server


def nested(depth: int) -> dict[str, Any]:
    """Return a schema in a schema, and so on."""
    return {"not": nested(depth - 1)} if depth else {}


def doubling(levels: int) -> dict[str, Any]:
    """Return definitions of which each holds the next twice."""
    defs: dict[str, Any] = {f"d{at}": {"allOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(levels)}
    return defs | {f"d{levels}": {"type": "string"}}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no mode": ({"mode": "warn"}, "mode: "),
    "no such key": ({"event": []}, "event: "),
    "unplanned": ({"unplanned": "maybe"}, "unplanned: "),
    "events": ({"events": {}}, "events: "),
    "event": ({"events": ["x"]}, "events[0]: "),
    "too many": ({"events": [{"type": "track", "name": f"e{at}"} for at in range(501)]}, "events: "),
    "type": ({"events": [{"type": "alias"}]}, "events[0].type: "),
    "list as a type": ({"events": [{"type": ["track"]}]}, "events[0].type: "),
    "no name": ({"events": [{"type": "track"}]}, "events[0]: "),
    "a name": ({"events": [{"type": "identify", "name": "x"}]}, "events[0].name: "),
    "a long name": ({"events": [{"type": "page", "name": "x" * 201}]}, "events[0].name: "),
    "twice": ({"events": [{"type": "page"}, {"type": "page"}]}, "events[1]: "),
    "its mode": ({"events": [{"type": "page", "mode": "no"}]}, "events[0].mode: "),
    "misspelt event": ({"events": [{"type": "page", "shema": {}}]}, "events[0].shema: "),
    "large": (plan({"enum": ["x" * MAX_BYTES]}), "a plan has at most"),
    "no schema": (plan(None), f"{SCHEMA}: "),
    "a false schema": (plan({"items": 3}), f"{SCHEMA}.items: "),
    "misspelt": (plan({"requierd": ["x"]}), f"{SCHEMA}.requierd: "),
    "wrong type": (plan({"properties": {"x": {"type": "strin"}}}), f"{SCHEMA}.properties.x.type: "),
    "wrong number": (plan({"properties": {"x": {"minimum": "1"}}}), f"{SCHEMA}.properties.x.minimum: "),
    "no list": (plan({"anyOf": {}}), f"{SCHEMA}.anyOf: "),
    "no mapping": (plan({"properties": []}), f"{SCHEMA}.properties: "),
    "unknown format": (plan({"properties": {"x": {"format": "datum"}}}), f"{SCHEMA}.properties.x.format: "),
    "format of patterns": (plan({"format": "regex"}), f"{SCHEMA}.format: "),
    "old draft": (plan({"$schema": "http://json-schema.org/draft-07/schema#"}), f"{SCHEMA}.$schema: "),
    "an id": (plan({"$id": "https://example.com/x"}), f"{SCHEMA}.$id: "),
    "dynamic": (plan({"$dynamicRef": "#x"}), f"{SCHEMA}.$dynamicRef: "),
    "a file": (plan({"$ref": "file:///etc/hostname"}), f"{SCHEMA}.$ref: "),
    "the meta-schema": (plan({"$ref": "https://json-schema.org/draft/2020-12/schema"}), f"{SCHEMA}.$ref: "),
    "itself": (plan({"$ref": "#"}), f"{SCHEMA}.$ref: "),
    "nowhere": (plan({"items": {"$ref": "#/$defs/x"}}), f"{SCHEMA}.items.$ref: "),
    "defs below": (plan({"items": {"$defs": {}}}), f"{SCHEMA}.items.$defs: "),
    "defs no mapping": (plan({}, **{"$defs": []}), "$defs: "),
    "shared": (plan({}, **{"$defs": {"x": {"type": "strin"}}}), "$defs.x.type: "),
    "circle": (plan({}, **{"$defs": {"x": {"items": {"$ref": "#/$defs/x"}}}}), "$defs.x.items.$ref: "),
    "wide circle": (
        plan({"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"not": {"$ref": "#/$defs/a"}}}}),
        "$defs.a.not.$ref: ",
    ),
    "deep": (plan(nested(MAX_DEPTH + 2)), SCHEMA + ".not" * (MAX_DEPTH + 1) + ": "),
    "unfolding": (plan({"$ref": "#/$defs/d0"}, **{"$defs": doubling(11)}), "$defs.d0: "),
    "wide": (plan({"prefixItems": [True] * MOST}), f"{SCHEMA}: "),
    "long pattern": (plan({"pattern": "x" * (MAX_PATTERN + 1)}), f"{SCHEMA}.pattern: "),
    "look-ahead": (plan({"pattern": "(?=a)b"}), f"{SCHEMA}.pattern: this is no regular"),
    "back-reference": (plan({"pattern": r"(a)\1"}), f"{SCHEMA}.pattern: this is no regular"),
    "huge pattern": (plan({"pattern": "((x{100}){100}){100}"}), f"{SCHEMA}.pattern: this is no regular"),
    "key pattern": (plan({"patternProperties": {"(?<!a)b": True}}), f"{SCHEMA}.patternProperties."),
}


@pytest.mark.parametrize(("given", "place"), REFUSED.values(), ids=list(REFUSED))
def test_a_plan_that_cannot_be_used_is_refused_with_the_place(given: dict[str, Any], place: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        read_plan(given)
    assert refused.value.message.startswith(place), refused.value.message


def test_nothing_is_fetched(listening: tuple[str, socket.socket]) -> None:
    url, server = listening
    for given in ({"$ref": url}, {"properties": {"x": {"$ref": url}}}, {"$defs": {"x": {"$ref": url}}}):
        with pytest.raises(DefinitionError, match="nothing is fetched"):
            read_plan(plan(given))
    with pytest.raises(BlockingIOError):
        server.accept()


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(x+x+)+y", "(.*.*.*.*.*.*=.*){2,5}", "^(([a-z])+.)+[A-Z]$"])
def test_no_pattern_hangs(pattern: str) -> None:
    """With an engine that goes back, each of these takes longer than the sun has left."""
    text = "a" * 15_000 + "x" * 15_000
    assert judged({"properties": {"x": {"pattern": pattern}}}, {"x": text + "!"}) == ["properties.x pattern"]


def test_nothing_that_is_sent_makes_a_check_fail_or_long() -> None:
    deep: Any = {}
    for _ in range(900):
        deep = {"x": deep}
    shared: dict[str, Any] = {"leaf": {"anyOf": [{"type": "string"}, {"type": "number", "maximum": 5}]}}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {"x": {"items": {"$ref": "#/$defs/leaf"}, "uniqueItems": True}},
    }
    more: dict[str, Any] = {"$defs": shared}
    for sent in (deep, {"x": 10**400}, {"x": [-(10**400), "\ud800", 0.1, True]}):
        assert judged(schema, sent, **more) in ([], ["properties.x[] anyOf"])
    many = [[at] for at in range(5_000)]
    said = judged(schema, {"x": many}, b" " * 32_000, **more)
    assert said == ["properties.x[] anyOf"]  # of a large event the first violation is told


def test_names_are_told_where_they_are_declared_or_could_be() -> None:
    schema = {
        "properties": {
            "Given Name": {"type": "string"},
            "map": {"additionalProperties": {"type": "number"}},
            "gone": False,
            "closed": {"additionalProperties": False},
            "list": {"items": {"properties": {"sku": {"minLength": 2}}}},
        },
        "propertyNames": {"maxLength": 20},
        "dependentRequired": {"map": ["Family Name"]},
        "patternProperties": {"^open$": {"properties": {"sku": True}, "additionalProperties": False}},
        "unevaluatedProperties": False,
    }
    sent = {
        "Given Name": 1,
        "map": {"ada@example.com": "x", "fine": "x"},
        "gone": 1,
        "closed": {"any": 1},
        "list": [{"sku": "1"}, {"sku": "2"}],
        "ada.example.of.a.long.name": 1,
        "typo": 1,
        "open": {"anna": 1, "bea": 2},
    }
    assert sorted(judged(schema, sent)) == [
        "properties propertyNames",
        "properties.* unevaluatedProperties",
        "properties.*.* additionalProperties",
        "properties.Family Name required",
        "properties.Given Name type",
        "properties.closed additionalProperties",
        "properties.gone false",
        "properties.list[].sku minLength",
        "properties.map.* type",
        "properties.typo unevaluatedProperties",
    ]


def test_what_a_plan_does_not_name_and_what_it_names_for_all() -> None:
    whole = {"mode": "block", "unplanned": "observe", "events": [{"type": "track", "name": "Seen"}]}
    assert Judge(read_plan(whole), 1)(event({"any": "thing"})) is None
    other = Judge(read_plan({**whole, "events": [{"type": "page", "schema": {"maxProperties": 0}}]}), 1)
    verdict = other(event({}))
    assert verdict is not None
    assert (verdict.event, verdict.mode) == ("unplanned", "observe")
    assert Judge(read_plan({**whole, "unplanned": "allow", "events": []}), 1)(event({})) is None


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_examples_can_be_applied(file: Path) -> None:
    data = read(file.read_bytes()).data
    whole = read_plan(data)
    assert len(whole.events) >= 5
    assert Judge(whole, 1)(event({})) is not None
