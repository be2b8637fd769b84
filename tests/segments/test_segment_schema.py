"""The JSON Schema for editors accepts what the parser accepts, and refuses what one place gives away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from generated import FIELDS, definitions
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from cdp.errors import DefinitionError
from cdp.policy import load
from cdp.segments import parse
from cdp.segments.schema import schema

VALIDATOR = Draft202012Validator(schema(FIELDS))


@settings(max_examples=60)
@given(definitions)
def test_what_the_parser_accepts_is_accepted(where: Any) -> None:
    definition = {"name": "mine", "description": "", "timezone": "Europe/Berlin", "where": where}
    parse(definition, FIELDS)
    VALIDATOR.validate(definition)


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"all": []},
        {"any": [{"event": "A"}], "all": [{"event": "A"}]},
        {"trait": "contry", "op": "eq", "value": "x"},
        {"trait": "country", "op": "gt", "value": "x"},
        {"trait": "country", "op": "eq", "value": 5},
        {"trait": "country", "op": "in", "value": []},
        {"trait": "country", "op": "eq"},
        {"trait": "age", "op": "between", "value": [1]},
        {"event": ""},
        {"event": "A", "within": "30 days"},
        {"event": "A", "from": "yesterday"},
        {"event": "A", "count": {"gte": "2"}},
        {"event": "A", "count": {"gte": 2, "lt": 5}},
        {"event": "A", "count": {}},
        {"event": "A", "sum": {"property": "sku", "gte": 2}},
        {"event": "A", "sum": {"gte": 2}},
        {"event": "A", "where": [{"property": "colour", "op": "eq", "value": "x"}]},
        {"event": "A", "where": {"property": "sku", "op": "eq", "value": "x"}},
        {"event": "A", "type": "identify"},
        {"sequence": []},
        {"sequence": [{"event": "A"}, {"not": {"event": "B", "within": "1d"}}]},
        {"sequence": [{"event": "A", "count": {"gte": 1}}]},
        {"segment": "No Name"},
        {"list": ""},
        {"sample": 0},
        {"sample": 1.5},
        {"tag": "x", "op": "like", "value": "y"},
        {"tag": "x", "op": "eq"},
        {"event": "A", "sum": {"property": "event.age", "lt": 5}},
        {"event": "A", "where": [{"property": "event.age", "op": "eq", "value": 5}]},
        {"ratio": {"of": {"event": "A"}}, "gt": 1},
        {"ratio": {"of": {"event": "A", "count": {"gt": 1}}, "to": {"event": "A"}}, "gt": 1},
        {"ratio": {"of": {"event": "A"}, "to": {"event": "B"}}},
    ],
)
def test_what_both_can_tell_is_refused_by_both(where: Any) -> None:
    with pytest.raises(DefinitionError):
        parse({"where": where}, FIELDS, "")
    assert not VALIDATOR.is_valid({"where": where})


@pytest.mark.parametrize("more", [{"nam": "x"}, {"name": "No Name"}, {"timezone": 5}, {"description": None}])
def test_so_is_the_rest_of_a_definition(more: Any) -> None:
    definition = {"where": {"event": "A"}, **more}
    with pytest.raises(DefinitionError):
        parse(definition, FIELDS, "")
    assert not VALIDATOR.is_valid(definition)


def test_it_is_a_schema_under_the_starter_policies_and_takes_the_example_of_the_guide() -> None:
    root = Path(__file__).parents[2]
    fields = load(root / "policies").fields
    found = schema(fields)
    Draft202012Validator.check_schema(found)
    text = (root / "docs" / "segments.md").read_text()
    example = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    parse(example, fields)
    Draft202012Validator(found).validate(example)


@settings(max_examples=60)
@given(definitions)
def test_a_definition_comes_back_from_yaml_as_it_was(where: Any) -> None:
    definition = parse({"name": "mine", "where": where}, FIELDS)
    written = yaml.safe_dump(definition.source, sort_keys=False, allow_unicode=True)
    assert parse(written, FIELDS) == definition
