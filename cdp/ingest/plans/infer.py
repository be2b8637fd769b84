"""What was seen of a source → a plan to begin with, from names and types alone. Pure.

Invariant: the plan accepts every event that was looked at. It is ``observe``, leaves fields that it does not
name alone, and requires what each event had, once enough were looked at; a person makes it stricter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cdp.ingest.catalogue import EventShape, FieldShape
from cdp.ingest.plans.model import NAMED, PLANNED

ENOUGH = 20
_JSON = {"list": "array"}


def infer_plan(shapes: Iterable[EventShape]) -> dict[str, Any]:
    """Return a plan for what was seen of a source."""
    events = []
    for shape in shapes:
        if shape.type not in PLANNED or (shape.type == "track" and not shape.name):
            continue
        part = "properties" if shape.type in NAMED else "traits"
        named = {"name": shape.name} if shape.name else {}
        events.append({"type": shape.type, **named, "schema": _schema(shape, part)})
    return {"mode": "observe", "unplanned": "observe", "events": events}


def _schema(shape: EventShape, part: str) -> dict[str, Any]:
    fields = {field.name: field for field in shape.fields if field.part == part}
    objects = {name for name, field in fields.items() if "object" in field.types}
    properties: dict[str, Any] = {}
    for name, field in fields.items():
        above, _, below = name.partition(".")
        if part == "traits" and below and above in objects:
            inner = properties.setdefault(above, _typed(fields[above]))
            inner.setdefault("properties", {})[below] = _typed(field)
        else:
            properties.setdefault(name, {}).update(_typed(field))
    required = [
        name
        for name, field in fields.items()
        if name in properties and field.present >= shape.looked_at >= ENOUGH
    ]
    schema: dict[str, Any] = {"type": "object"}
    if properties:
        schema["properties"] = dict(sorted(properties.items()))
    if required:
        schema["required"] = sorted(required)
    return schema


def _typed(field: FieldShape) -> Mapping[str, Any]:
    types = sorted(_JSON.get(name, name) for name in field.types)
    return {"type": types[0] if len(types) == 1 else types}
