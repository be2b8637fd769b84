"""schema: the JSON Schema (draft 2020-12) of a definition, by which editors check and complete files. Pure.

Invariant: what ``parse`` accepts, the schema accepts; and it refuses what can be told from one place of a
file: unknown keys, names that are not declared or not clear, operators and values of another type.
What depends on several places (nesting, sizes, the last step of a sequence) is told by ``parse`` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cdp.policy import FieldCatalogue, FieldRule
from cdp.segments.moments import PATTERN as MOMENT
from cdp.segments.reader import COMPARISONS, CONTEXT, DURATION, MAX_CONDITIONS, MAX_TEXT, NAME, OPERATORS

Schema = dict[str, Any]
_DATE = r"\d{4}-\d{2}-\d{2}"
_SCALARS: dict[str, Schema] = {
    "string": {"type": "string", "maxLength": MAX_TEXT},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "time": {"type": "string", "pattern": f"^{_DATE}"},
}
_TYPES = {"enum": ["track", "page", "screen"]}
_NODE: Schema = {"$ref": "#/$defs/condition"}


def schema(fields: FieldCatalogue) -> Schema:
    """Return the schema of a definition under what is declared now."""
    context = {CONTEXT + name: rule for name, rule in fields.context.items()}
    properties = _by_type({**fields.properties, **context})
    happening: Schema = {
        "event": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
        "type": _TYPES,
        "where": {"type": "array", "items": {"$ref": "#/$defs/property"}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A segment",
        **_object(
            {
                "name": {"type": "string", "pattern": f"^({NAME})?$"},
                "description": {"type": "string", "maxLength": MAX_TEXT},
                "timezone": {"type": "string", "description": "of the IANA time zone database"},
                "where": _NODE,
            },
            "where",
        ),
        "$defs": {
            "condition": {"anyOf": _conditions(fields, happening, properties)},
            "property": {"anyOf": list(_comparisons("property", properties))},
            "duration": {"type": "string", "pattern": f"^{DURATION}$"},
            "moment": {"type": "string", "pattern": f"^({MOMENT}|{_DATE}.*)$"},
            "step": {
                "anyOf": [
                    _object({**happening, "within": {"$ref": "#/$defs/duration"}}, "event"),
                    _object(
                        {"not": _object(happening, "event"), "within": {"$ref": "#/$defs/duration"}}, "not"
                    ),
                ]
            },
        },
    }


def _conditions(
    fields: FieldCatalogue, happening: Schema, properties: Mapping[str, list[str]]
) -> list[Schema]:
    several = {"type": "array", "minItems": 1, "items": _NODE}
    name = {"type": "string", "pattern": f"^{NAME}$"}
    window = {
        "within": {"$ref": "#/$defs/duration"},
        "from": {"$ref": "#/$defs/moment"},
        "to": {"$ref": "#/$defs/moment"},
    }
    steps = {"type": "array", "minItems": 1, "maxItems": 20, "items": {"$ref": "#/$defs/step"}}
    share = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    return [
        _object({"all": several}, "all"),
        _object({"any": several}, "any"),
        _object({"not": _NODE}, "not"),
        *_comparisons("trait", _by_type(fields.traits)),
        _object({**happening, **window, **_aggregates(properties)}, "event"),
        _object({"sequence": steps, "within": {"$ref": "#/$defs/duration"}}, "sequence"),
        _object({"segment": name}, "segment"),
        _object({"list": name}, "list"),
        _object({"sample": share, "salt": {"type": "string", "maxLength": MAX_TEXT}}, "sample"),
    ]


def _comparisons(key: str, names: Mapping[str, list[str]]) -> Iterable[Schema]:
    """Yield, for each type of field, the ways to compare one of it."""
    for kind, known in names.items():
        value, field = _SCALARS[kind], {key: {"enum": known}}
        plain = [op for op in OPERATORS[kind] if op not in {"in", "between", "exists"}]
        yield _object({**field, "op": {"enum": plain}, "value": value}, key, "op", "value")
        several = {"type": "array", "minItems": 1, "maxItems": MAX_CONDITIONS, "items": value}
        yield _object({**field, "op": {"const": "in"}, "value": several}, key, "op", "value")
        yield _object({**field, "op": {"const": "exists"}, "value": {"type": "boolean"}}, key, "op")
        if "between" in OPERATORS[kind]:
            yield _object({**field, "op": {"const": "between"}, "value": _pair(value)}, key, "op", "value")


def _aggregates(names: Mapping[str, list[str]]) -> Schema:
    """Return what a person's events may amount to, by function."""
    every = [(kind, name) for kind, known in names.items() for name in known]

    def of(*kinds: str, compared: str | None = None) -> Schema:
        """Return an aggregate of a property of these types, compared with its own type unless given."""
        return {
            "anyOf": [
                _compared(
                    {"property": {"enum": [name for held, name in every if held == kind]}}, compared or kind
                )
                for kind in kinds
                if names.get(kind)
            ]
            or [False]
        }

    kinds = tuple(_SCALARS)
    return {
        "count": _compared({}, "number"),
        "sum": of("number"),
        "avg": of("number"),
        "min": of("number", "time"),
        "max": of("number", "time"),
        "distinct": of(*kinds, compared="number"),
        "first": of(*kinds),
        "last": of(*kinds),
    }


def _compared(fixed: Schema, kind: str) -> Schema:
    """Return a map of ``fixed`` keys and one comparison."""
    value = _SCALARS[kind]
    allowed = {op: _pair(value) if op == "between" else value for op in COMPARISONS if op in OPERATORS[kind]}
    size = len(fixed) + 1
    return {**_object({**fixed, **allowed}, *fixed), "minProperties": size, "maxProperties": size}


def _object(properties: Schema, *required: str) -> Schema:
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": list(required)} if required else found


def _pair(value: Schema) -> Schema:
    return {"type": "array", "minItems": 2, "maxItems": 2, "items": value}


def _by_type(rules: Mapping[str, FieldRule]) -> dict[str, list[str]]:
    """Return type → the names of the fields that segments may read."""
    found: dict[str, list[str]] = {}
    for name, rule in sorted(rules.items()):
        if rule.clear and rule.type != "list":
            found.setdefault(rule.type, []).append(name)
    return found
