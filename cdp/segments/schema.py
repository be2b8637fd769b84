"""schema: the JSON Schema (draft 2020-12) of a definition, by which editors check and complete files. Pure.

Invariant: what ``parse`` accepts, the schema accepts; and it refuses what can be told from one place of a
file: unknown keys, names that are not declared or not clear, operators and values of another type.
What depends on several places (nesting, sizes, the last step of a sequence) is told by ``parse`` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cdp.policy import FieldCatalogue, FieldRule
from cdp.segments.definition import AGE
from cdp.segments.moments import PATTERN as MOMENT
from cdp.segments.reader import (
    AGES,
    COMPARISONS,
    CONTEXT,
    DURATION,
    MAX_CONDITIONS,
    MAX_TEXT,
    NAME,
    OF_EVENT,
    OPERATORS,
)
from cdp.segments.scheduled import AT, EVERY

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
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A segment",
        **_object(
            {
                "name": {"type": "string", "pattern": f"^({NAME})?$"},
                "description": {"type": "string", "maxLength": MAX_TEXT},
                "timezone": {"type": "string", "description": "of the IANA time zone database"},
                "schedule": {
                    "anyOf": [
                        _object({"every": {"const": "hour"}}, "every"),
                        _object(
                            {
                                "every": {"enum": [one for one in EVERY if one != "hour"]},
                                "at": {"type": "string", "pattern": f"^{AT}$"},
                            },
                            "every",
                        ),
                    ]
                },
                "where": _NODE,
            },
            "where",
        ),
        "$defs": shared(fields),
    }


def shared(fields: FieldCatalogue) -> Schema:
    """Return the parts that definitions are made of, by the names under which they are referred to."""
    context = {CONTEXT + name: rule for name, rule in fields.context.items()}
    properties = _by_type({**fields.properties, **context, **OF_EVENT})
    happening: Schema = {
        "event": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
        "type": _TYPES,
        "where": {"type": "array", "items": {"$ref": "#/$defs/property"}},
    }
    window = {
        "within": {"$ref": "#/$defs/duration"},
        "from": {"$ref": "#/$defs/moment"},
        "to": {"$ref": "#/$defs/moment"},
    }
    amount = {"$ref": "#/$defs/amount"}
    return {
        "condition": {"anyOf": _conditions(fields, {**happening, **window}, properties)},
        "property": {
            "anyOf": [
                *_comparisons("property", _without_age(properties)),
                *(_aged(op) for op in AGES),
            ]
        },
        "duration": {"type": "string", "pattern": f"^{DURATION}$"},
        "moment": {"type": "string", "pattern": f"^({MOMENT}|{_DATE}.*)$"},
        "step": {
            "anyOf": [
                _object({**happening, "within": {"$ref": "#/$defs/duration"}}, "event"),
                _object({"not": _object(happening, "event"), "within": {"$ref": "#/$defs/duration"}}, "not"),
            ]
        },
        "amount": _object({**happening, **window, **_aggregates(properties, compared=False)}, "event"),
        "ratio": _object({"of": amount, "to": amount}, "of", "to"),
    }


def _conditions(fields: FieldCatalogue, events: Schema, properties: Mapping[str, list[str]]) -> list[Schema]:
    several = {"type": "array", "minItems": 1, "items": _NODE}
    name = {"type": "string", "pattern": f"^{NAME}$"}
    steps = {"type": "array", "minItems": 1, "maxItems": 20, "items": {"$ref": "#/$defs/step"}}
    share = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    return [
        _object({"all": several}, "all"),
        _object({"any": several}, "any"),
        _object({"not": _NODE}, "not"),
        *_comparisons("trait", _by_type(fields.traits)),
        _object({**events, **_aggregates(properties)}, "event"),
        _compared({"ratio": {"$ref": "#/$defs/ratio"}}, "number", OPERATORS["number"]),
        _object({"sequence": steps, "within": {"$ref": "#/$defs/duration"}}, "sequence"),
        *(
            _object({"tag": name, "op": {"const": op}, "value": _given(op)}, *_needed(op))
            for op in COMPARISONS
        ),
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


def _aggregates(names: Mapping[str, list[str]], *, compared: bool = True) -> Schema:
    """Return what a person's events may amount to, by function."""
    steady = _without_age(names)
    counted = tuple(op for op in OPERATORS["number"] if op != "exists")  # of nothing a count is 0

    def of(known: Mapping[str, list[str]], *kinds: str, counts: bool = False) -> Schema:
        """Return an aggregate of a property of these types, compared with its own type or as a count."""
        made = [
            _compared({"property": {"enum": known[kind]}}, "number", counted)
            if counts and compared
            else _compared({"property": {"enum": known[kind]}}, kind, OPERATORS[kind] if compared else ())
            for kind in kinds
            if known.get(kind)
        ]
        return {"anyOf": made or [False]}

    kinds = tuple(_SCALARS)
    aged = [_compared({"property": {"const": AGE}}, "number", (*AGES, "exists") if compared else ())]
    ranked = {"anyOf": [*of(steady, "number", "time")["anyOf"], *aged]}
    return {
        "count": _compared({}, "number", counted if compared else ()),
        "sum": of(steady, "number"),
        "avg": of(steady, "number"),
        "min": ranked,
        "max": ranked,
        "distinct": of(steady, *kinds, counts=True),
        "first": of(steady, *kinds),
        "last": of(steady, *kinds),
        "most_frequent": of(steady, *kinds),
    }


def _compared(fixed: Schema, kind: str, allowed: Sequence[str]) -> Schema:
    """Return a map of ``fixed`` keys and, where any are allowed, one comparison."""
    value = _SCALARS[kind]
    several = {"type": "array", "minItems": 1, "maxItems": MAX_CONDITIONS, "items": value}
    shapes = {"between": _pair(value), "in": several, "exists": {"type": "boolean"}}
    size = len(fixed) + bool(allowed)
    found = _object({**fixed, **{op: shapes.get(op, value) for op in allowed}}, *fixed)
    return {**found, "minProperties": size, "maxProperties": size}


def _aged(op: str) -> Schema:
    value = _SCALARS["number"]
    compared = {"op": {"const": op}, "value": _pair(value) if op == "between" else value}
    return _object({"property": {"const": AGE}, **compared}, "property", "op", "value")


def _without_age(names: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return names by type without the one that changes all the time."""
    return {kind: [name for name in known if name != AGE] for kind, known in names.items()}


def _given(op: str) -> Schema:
    """Return what a tag is compared with, whatever its type."""
    value: Schema = {"type": ["string", "number", "boolean"]}
    shapes = {
        "between": _pair(value),
        "in": {"type": "array", "minItems": 1, "maxItems": MAX_CONDITIONS, "items": value},
        "exists": {"type": "boolean"},
    }
    return shapes.get(op, value)


def _needed(op: str) -> tuple[str, ...]:
    return ("tag", "op") if op == "exists" else ("tag", "op", "value")


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
