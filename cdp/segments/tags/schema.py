"""schema: the JSON Schema (draft 2020-12) of a tag's definition. Pure.

As ``segments.schema``: what ``parse_tag`` accepts, it accepts, and it refuses what can be told from one
place.
"""

from __future__ import annotations

from typing import Any, get_args

from cdp.policy import FieldCatalogue
from cdp.segments.reader import MAX_TEXT, NAME
from cdp.segments.schema import Schema, shared
from cdp.segments.tags.model import TagKind
from cdp.segments.tags.parse import MAX_CASES, MAX_CLASSES


def schema(fields: FieldCatalogue) -> Schema:
    """Return the schema of a tag under what is declared now."""
    parts = shared(fields)
    text = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}
    case = {
        "type": "object",
        "properties": {"value": text, "where": {"$ref": "#/$defs/condition"}},
        "required": ["value", "where"],
        "additionalProperties": False,
    }
    bounds = {"type": "array", "minItems": 1, "maxItems": MAX_CLASSES - 1, "items": {"type": "number"}}
    classes = {"type": "integer", "minimum": 2, "maximum": MAX_CLASSES}
    scored = {"score": {"$ref": "#/$defs/amount"}, "best": {"enum": ["high", "low"]}}
    forms: list[dict[str, Any]] = [
        {"cases": {"type": "array", "minItems": 1, "maxItems": MAX_CASES, "items": case}, "otherwise": text},
        {"amount": {"$ref": "#/$defs/amount"}},
        {"ratio": {"$ref": "#/$defs/ratio"}},
        {**scored, "into": classes},
        {**scored, "thresholds": bounds},
    ]
    optional = {"otherwise", "best"}
    common = {
        "name": {"type": "string", "pattern": f"^{NAME}$"},
        "description": {"type": "string", "maxLength": MAX_TEXT},
        "kind": {"enum": list(get_args(TagKind))},
        "timezone": {"type": "string", "description": "of the IANA time zone database"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A computed tag",
        "anyOf": [
            {
                "type": "object",
                "properties": {**common, **form},
                "required": ["kind", *(key for key in form if key not in optional)],
                "additionalProperties": False,
            }
            for form in forms
        ],
        "$defs": parts,
    }
