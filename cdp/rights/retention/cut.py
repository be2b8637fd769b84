"""What is left of an event once the period of some of it has ended: pure.

Invariants: an event goes whole where what *having done it* tells is past its period. Else each value goes
whose own category is; a value without a declared category stays as long as its event. What is left is what
stood there before, never anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cdp.ingest import snake_case
from cdp.policy import FieldCatalogue, FieldRule, lineage

Past = Callable[[str], bool]
"""Category → whether it is past its period."""
_CONTEXT = "context."
_SITES = ("page", "screen")


def category_of_event(fields: FieldCatalogue, type_: str, name: str) -> str:
    """Return the category that having done an event tells; views of pages are told by their type."""
    return fields.event_category(type_ if type_ in _SITES else name)


def category_of_trait(fields: FieldCatalogue, name: str) -> str:
    """Return the category of an observation; an undeclared one may be anything about a person."""
    rule = fields.traits.get(name)
    if rule is not None:
        return rule.category
    return fields.inferences.get(name, "user")


def sealed_categories(fields: FieldCatalogue) -> frozenset[str]:
    """Return every category that a value in an event's envelope may have of its own."""
    declared = (*fields.properties.values(), *fields.context.values(), *fields.traits.values())
    return frozenset(rule.category for rule in declared)


def cut_clear(fields: FieldCatalogue, held: Mapping[str, Any], past: Past) -> dict[str, Any]:
    """Return what stays of an event's clear values, by name (``context.…`` of the context)."""
    return {name: value for name, value in held.items() if not _gone(_clear_rule(fields, name), past)}


def cut_sealed(fields: FieldCatalogue, held: Mapping[str, Any], past: Past) -> dict[str, Any]:
    """Return what stays of the content of an event's envelope, as ``Classifier`` laid it out."""
    left = dict(held)
    for part, rule_of in (
        ("properties", fields.properties.get),
        ("traits", lambda name: fields.traits.get(snake_case(name))),
    ):
        if isinstance(values := held.get(part), dict):
            left[part] = {name: value for name, value in values.items() if not _gone(rule_of(name), past)}
    if isinstance(context := held.get("context"), dict):
        left["context"] = dict(_cut_context(fields, context, past))
    return {name: value for name, value in left.items() if value != {}}


def _cut_context(fields: FieldCatalogue, held: Mapping[str, Any], past: Past) -> Iterator[tuple[str, Any]]:
    for top, value in held.items():
        if _gone(fields.context.get(top), past):
            continue
        if not isinstance(value, dict):
            yield top, value
            continue
        left = {
            below: inner
            for below, inner in value.items()
            if not _gone(_nearest(fields.context, f"{top}.{below}" if below else top), past)
        }
        if left:
            yield top, left


def _clear_rule(fields: FieldCatalogue, name: str) -> FieldRule | None:
    if name.startswith(_CONTEXT):
        return fields.context.get(name.removeprefix(_CONTEXT))
    return fields.properties.get(name)


def _nearest(rules: Mapping[str, FieldRule], path: str) -> FieldRule | None:
    return next((rules[name] for name in lineage(path) if name in rules), None)


def _gone(rule: FieldRule | None, past: Past) -> bool:
    return rule is not None and past(rule.category)
