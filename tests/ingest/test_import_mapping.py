"""Mapping files: what is wrong with one is named with its line, and what a row becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.access import Source
from cdp.clock import parse_rfc3339
from cdp.errors import InvalidInputError
from cdp.ingest import Delivery, MappingText, Message, Reject, row_message, row_number, unreadable_message
from cdp.ingest.imports import from_row
from cdp.policy import load

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "imports").glob("*.yaml"))
FILE = "f" * 64
SOURCE = Source(source_id=1, name="old", kind="import", enabled=True)
NOW = parse_rfc3339("2026-03-01T12:00:00Z")


def adapt(text: str, row: object, number: int = 7) -> list[Message | Reject]:
    MappingText(text)
    raw = row if isinstance(row, bytes) else row_message(number, msgspec.json.encode(row))
    delivery = Delivery(source=SOURCE, messages=(raw,), received_at=NOW, form="import:1")
    return from_row(MappingText.compiled(text, FILE), delivery.each()[0])


def bodies(text: str, row: object) -> list[dict[str, Any]]:
    made = adapt(text, row)
    assert not any(isinstance(one, Reject) for one in made), [getattr(one, "cause", "") for one in made]
    return [msgspec.json.decode(one.raw) for one in made if isinstance(one, Message)]


def cause(text: str, row: object) -> str:
    (reject,) = (one for one in adapt(text, row) if isinstance(one, Reject))
    assert reject.kind == "adapter_failure"
    return reject.cause


def value(spec: str, row: object) -> Any:
    text = f"identifiers: {{user_id: u}}\nevents: [{{name: E, properties: {{x: {spec}}}}}]\n"
    made = adapt(text, {"u": "1", **row} if isinstance(row, dict) else row)
    if isinstance(made[0], Reject):
        return f"! {made[0].cause}"
    return msgspec.json.decode(made[0].raw)["properties"].get("x")


BASE = "identifiers: {user_id: u}\nevents: [{name: E}]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("identifiers: [", "mapping:2: not valid YAML"),
        ("identifiers: {user_id: u}\nevent: []\n", "mapping:2: unknown key 'event'; did you mean 'events'?"),
        ("events: [{name: E}]\n", "mapping:1: the key 'identifiers' is missing"),
        ("identifiers: {}\nevents: [{name: E}]\n", "mapping:1: name at least one identifier"),
        ("identifiers:\n  userid: u\nevents: [{name: E}]\n", "mapping:2: an identifier is one of: user_id"),
        ("identifiers: {'external:': u}\nevents: [{name: E}]\n", "an identifier is one of"),
        ("identifiers: {user_id: u}\n", "a row becomes nothing"),
        (BASE + "time_zone: Mars/Olympus\n", "mapping:3: no time zone of the IANA database"),
        (BASE + "format: {delimiter: ab}\n", "mapping:3: the delimiter is one character"),
        (BASE + "format: {quote: ','}\n", "the quote is one character"),
        (BASE + "format: {encoding: klingon}\n", "mapping:3: 'klingon' is not one of: big5"),
        (BASE + "format: {header: false}\n", "give columns where the file has no header"),
        (BASE + "format: {columns: [a]}\n", "give columns where the file has no header"),
        (BASE + "format: {header: false, columns: [a, a]}\n", "a column is named twice"),
        (BASE + "time: {column: t, text: x}\n", "a value has one of: column, value, text, multiply"),
        (BASE + "time: {}\n", "a value has one of"),
        (BASE + "time: {value: yesterday}\n", "a text that stands here is not the time"),
        (BASE + "time: {column: t, format: '%Q'}\n", "mapping:3: no format that strptime reads"),
        (BASE + "time: {column: t, zone: X}\n", "no time zone of the IANA database"),
        (BASE + "traits: {a: {column: a, format: '%Y'}}\n", "format and zone are of times"),
        (BASE + "traits: {a: {column: a, type: number, default: x}}\n", "stands here is not a number"),
        (BASE + "traits: {a: {column: a, otherwise: x}}\n", "otherwise needs values"),
        (BASE + "traits: {a: {multiply: [a], values: {b: c}}}\n", "values are of a column or a text"),
        (BASE + "traits: {a: {text: '{b'}}\n", "a brace in text is not closed"),
        (BASE + "traits: {a: ''}\n", "name the column"),
        (BASE + "leave_out: [{column: a}]\n", "say what holds of the column: in, starts or given"),
        (BASE + "consents: [{purpose: p, state: lifted}]\n", "a state is one of: granted"),
        (
            BASE + "consents: [{purpose: p, state: {column: s, values: {a: restricted}}}]\n",
            "a state is one of",
        ),
        (BASE + "consents: [{purpose: p, state: granted, method: preference_page}]\n", "only links of ours"),
        ("a: &a b\n", "anchors, aliases and tags are not allowed"),
    ],
)
def test_what_is_wrong_with_a_mapping_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        MappingText(text)
    assert said in refused.value.message
    assert refused.value.message.startswith("mapping:")


def test_names_of_the_policies_and_columns_of_the_file_are_checked_too() -> None:
    bundle = load(Path(__file__).parents[2] / "policies")
    consent = "identifiers: {user_id: u}\nconsents:\n  - {purpose: marketting, state: granted}\n"
    with pytest.raises(InvalidInputError, match=r"mapping:3: the purpose 'marketting' is not declared"):
        MappingText(consent).check_names(bundle.purposes, bundle.destinations)
    told = "identifiers: {user_id: u}\nconsents: [{purpose: marketing, state: s, recipients: nobody}]\n"
    with pytest.raises(InvalidInputError, match="a state is one of"):
        MappingText(told)
    text = MappingText(BASE + "time: {text: '{day} {hour}'}\nmessage_id: {column: [a, b]}\n")
    text.check_columns(["u", "day", "hour", "a"])
    with pytest.raises(InvalidInputError, match=r"mapping:3: the file's column 'hour' is not declared"):
        text.check_columns(["u", "day", "a"])


@pytest.mark.parametrize(
    ("spec", "row", "expected"),
    [
        ("c", {"c": "007"}, "007"),
        ("c", {"c": " "}, None),
        ("c", {}, None),
        ("c", {"c": {"d": [1]}}, {"d": [1]}),
        ("{column: [c, d]}", {"c": {"d": 5}}, 5),
        ("{column: [c, d]}", {"c": "text"}, None),
        ("{column: c, type: text}", {"c": 5}, "5"),
        ("{column: c, type: text}", {"c": [1]}, "! events[0].properties.x is a list or an object"),
        ("{value: '5', type: integer}", {}, 5),
        ("{column: c, default: '1', type: integer}", {"c": ""}, 1),
        ("{column: c, type: number}", {"c": "1,234.50"}, 1234.5),
        ("{column: c, type: number, decimal: ','}", {"c": "1.234,50"}, 1234.5),
        ("{column: c, type: number}", {"c": "-.5e2"}, -50.0),
        ("{column: c, type: number}", {"c": "nan"}, "! events[0].properties.x is not a number"),
        ("{column: c, type: number}", {"c": "1e999"}, "! events[0].properties.x is not a finite number"),
        ("{column: c, type: number}", {"c": "9" * 19}, "! events[0].properties.x has more than 64 bits"),
        ("{column: c, type: number}", {"c": True}, "! events[0].properties.x is not a number"),
        ("{column: c, type: integer}", {"c": "4.0"}, 4),
        ("{column: c, type: integer}", {"c": "4.5"}, "! events[0].properties.x is not a whole number"),
        ("{column: c, type: boolean}", {"c": "Yes"}, True),
        ("{column: c, type: boolean}", {"c": 0}, False),
        ("{column: c, type: boolean}", {"c": "2"}, "! events[0].properties.x is neither true nor false"),
        ("{column: c, type: json}", {"c": '{"a": [1]}'}, {"a": [1]}),
        ("{column: c, type: json}", {"c": "{"}, "! events[0].properties.x is not JSON"),
        ("{column: c, values: {a: A, 'true': T}}", {"c": True}, "T"),
        ("{column: c, values: {a: A}, otherwise: O}", {"c": "b"}, "O"),
        ("{column: c, values: {a: A}}", {"c": "b"}, "! events[0].properties.x: its text is none of those"),
        ("{column: c, values: {a: '1'}, type: integer}", {"c": "a"}, 1),
        ("{text: '{a}-{#}'}", {"a": 3}, "3-7"),
        ("{text: '{a}-{#}'}", {"a": ""}, "! events[0].properties.x has no value"),
        ("{multiply: [a, b]}", {"a": "3", "b": "0.1"}, 0.3),
        ("{multiply: [a, b]}", {"a": "3", "b": ""}, None),
        ("{column: c, type: time, zone: Europe/Berlin}", {"c": "2026-07-01 12:00"}, "2026-07-01T10:00:00Z"),
        ("{column: c, type: time}", {"c": "2026-07-01T12:00+05:00"}, "2026-07-01T07:00:00Z"),
        ("{column: c, type: time, format: unix_ms}", {"c": 1_500}, "1970-01-01T00:00:01.500000Z"),
        (
            "{column: c, type: time, format: unix_s}",
            {"c": "1e30"},
            "! events[0].properties.x is not the time",
        ),
        ("{column: c, type: time, format: '%d.%m.%Y'}", {"c": "31.12.2025"}, "2025-12-31T00:00:00Z"),
        ("{column: c, type: time}", {"c": "31.12.2025"}, "! events[0].properties.x is not the time"),
    ],
)
def test_what_a_value_is_made_of(spec: str, row: dict[str, Any], expected: Any) -> None:
    found = value(spec, row)
    if isinstance(expected, str) and expected.startswith("!"):
        assert str(found).startswith(expected)
    else:
        assert (found, type(found)) == (expected, type(expected))


FULL = """
missing: [n/a]
time_zone: America/New_York
time: at
leave_out: [{column: kind, in: [test, probe]}]
identifiers: {user_id: customer, email: mail}
traits: {plan: plan}
events:
  - {name: Seen, unless: [{column: kind, in: order}]}
  - {name: {column: kind, values: {order: Order Completed}, default: Seen},
     when: [{column: kind, starts: ord}],
     properties: {revenue: {column: price, type: number}}}
  - {type: page, name: Home, when: [{column: url, given: true}], time: {column: seen, format: unix_s}}
consents:
  - {purpose: marketing, state: {column: optin, values: {"1": granted, "0": withdrawn}}, provenance: old CRM}
"""
ROW = {"customer": "17", "mail": "n/a", "at": "2026-01-01", "plan": "gold", "kind": "order", "price": "5"}


def test_what_a_row_becomes() -> None:
    identify, order = bodies(FULL, ROW)
    at = "2026-01-01T05:00:00Z"
    assert identify == {
        "type": "identify",
        "messageId": f"import-{FILE}-7:traits",
        "traits": {"plan": "gold"},
        "timestamp": at,
    }
    assert order == {
        "type": "track",
        "event": "Order Completed",
        "messageId": f"import-{FILE}-7:1",
        "properties": {"revenue": 5},
        "timestamp": at,
    }
    seen = bodies(FULL, {**ROW, "kind": "", "url": "/", "seen": 60})
    assert [one["messageId"].rpartition("-")[2] for one in seen] == ["7:traits", "7", "7:2"]
    assert seen[2]["timestamp"] == "1970-01-01T00:01:00Z"
    assert adapt(FULL, {**ROW, "kind": "probe", "at": "rubbish"}) == []
    mapped = bodies(FULL + "message_id: {column: mail}\n", {**ROW, "mail": "m-1"})
    assert [one["messageId"] for one in mapped] == ["m-1:traits", "m-1:1"]


def test_who_a_row_is_about_and_what_it_says_of_consent() -> None:
    made = adapt(FULL, {**ROW, "optin": "0", "mail": "ada@people.example"})
    assert all(isinstance(one, Message) for one in made)
    word = made[0]
    assert isinstance(word, Message)
    (said,) = word.delivery.statements
    assert (said.purpose, said.state, said.act, said.method) == ("marketing", "withdrawn", True, "import")
    assert msgspec.json.decode(said.evidence or b"") == {"file": FILE, "row": 7, "provenance": "old CRM"}
    assert word.delivery.identifiers == (("user_id", "17"), ("email", "ada@people.example"))
    assert word.delivery.form == ""
    assert word.origin is not None


def test_a_row_that_fails_still_restrains_and_grants_nothing() -> None:
    said = {"optin": "0", "at": "rubbish"}
    made = adapt(FULL, {**ROW, **said})
    assert [isinstance(one, Reject) for one in made] == [False, True]
    assert isinstance(made[0], Message)
    (restrained,) = made[0].delivery.statements
    assert (restrained.state, restrained.event_time) == ("withdrawn", NOW)
    assert [type(one) for one in adapt(FULL, {**ROW, **said, "optin": "1"})] == [Reject]
    assert cause(FULL, {**ROW, "optin": "1", "at": "2027-01-01"}) == (
        "consents[0].time lies more than a day ahead"
    )
    undated = FULL.replace("time: at\n", "")
    assert cause(undated, {**ROW, "optin": "1"}).startswith("consents[0].time has no value")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**ROW, "customer": "", "mail": ""}, "none of its identifiers has a value"),
        ({**ROW, "customer": "x" * 1001}, "identifiers.user_id has more than 1000 characters"),
        ({**ROW, "customer": "a\tb"}, "identifiers.user_id has control characters"),
        ({**ROW, "customer": ["a"]}, "identifiers.user_id is a list or an object"),
        ({**ROW, "at": None}, "events[1].time has no value"),
        ({**ROW, "price": "five"}, "events[1].properties.revenue is not a number"),
        ([1], "the row is not a JSON object"),
        (unreadable_message(7, "columns", b"a,b,c"), "the row has more or fewer columns than the header"),
        (b"[7,{broken", "the row is not what its format says"),
    ],
)
def test_why_a_row_becomes_nothing(row: object, said: str) -> None:
    text = FULL.replace("traits: {plan: plan}\n", "")
    assert cause(text, row) == said
    assert row_number(row if isinstance(row, bytes) else row_message(7, msgspec.json.encode(row))) == 7


def test_without_a_mapping_a_row_is_a_message() -> None:
    message = {"type": "track", "event": "E", "userId": "u"}
    assert bodies("", message) == [{**message, "messageId": f"import-{FILE}-7"}]
    assert bodies("", {**message, "messageId": "own"}) == [{**message, "messageId": "own"}]
    assert cause("", unreadable_message(7, "malformed", b"{")) == "the row is not what its format says"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(
    SCALARS, lambda held: st.lists(held, max_size=2) | st.dictionaries(st.text(max_size=3), held, max_size=2)
)


@given(st.dictionaries(st.sampled_from([*ROW, "optin", "url", "seen"]), ANYTHING))
def test_whatever_a_row_holds_it_becomes_messages_or_one_reject(row: dict[str, Any]) -> None:
    made = adapt(FULL, row)
    assert sum(isinstance(one, Reject) for one in made) <= 1
    for one in made:
        if isinstance(one, Reject):
            assert not any(
                isinstance(held, str) and len(held) > 3 and held in one.cause for held in row.values()
            )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_right_and_name_their_schema(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=../../docs/schemas/import.schema.json\n")
    MappingText(text).check_names((), ())


def test_every_data_set_has_its_example() -> None:
    wanted = {"online_retail", "cdnow", "rees46_sample", "complete_journey", "bank_marketing"}
    assert wanted <= {path.stem for path in EXAMPLES}
