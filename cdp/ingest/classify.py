"""classify: an event → what ``policies/fields.yaml`` declares clear, and the rest, to be sealed.

Invariants: only a declared field whose value has its declared type, and does not itself hold an e-mail
address or a phone number, stays clear; everything else is sealed, names included where a name could be
personal. Query strings and fragments are cut off URLs before anything else looks at them.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from cdp.clock import parse_rfc3339
from cdp.ingest.model import Classified, Event, Trait
from cdp.ingest.validate import looks_personal
from cdp.policy import FieldCatalogue, FieldRule

_encode = msgspec.json.encode
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TRAIT_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}(\.[a-z][a-z0-9_]{0,63}){0,3}")
_URL_FIELDS = frozenset({"url", "referrer", "page.url", "page.referrer"})
_CONTEXT = "context."


class Classifier:
    """Cuts events by the field catalogue."""

    def __init__(self, fields: FieldCatalogue) -> None:
        self._properties = {name: rule for name, rule in fields.properties.items() if rule.clear}
        self._traits = {name: rule for name, rule in fields.traits.items() if rule.clear}
        self._context: dict[str, dict[str, FieldRule]] = {}
        for name, rule in fields.context.items():
            if rule.clear:
                top, _, below = name.partition(".")
                self._context.setdefault(top, {})[below] = rule

    def __call__(self, event: Event) -> Classified:
        """Return the event, cut."""
        clear: dict[str, Any] = {}
        sealed: dict[str, Any] = {}
        if event.properties:
            self._cut_properties(event.properties, clear, sealed)
        if event.context:
            self._cut_context(event.context, clear, sealed)
        traits, unnamed = self._cut_traits(event.traits) if event.traits else ((), {})
        if unnamed:
            sealed["traits"] = unnamed
        if event.rest:
            sealed.update(event.rest)
        return Classified(
            event, _encode(clear) if clear else None, _encode(sealed) if sealed else None, traits
        )

    def _cut_properties(self, given: dict[str, Any], clear: dict[str, Any], sealed: dict[str, Any]) -> None:
        kept: dict[str, Any] = {}
        for name, raw in given.items():
            value = _without_query(raw) if name in _URL_FIELDS else raw
            rule = self._properties.get(name)
            if rule is not None and has_type(rule, value):
                clear[name] = value
            elif value is not None:
                kept[name] = value
        if kept:
            sealed["properties"] = kept

    def _cut_context(self, given: dict[str, Any], clear: dict[str, Any], sealed: dict[str, Any]) -> None:
        kept: dict[str, Any] = {}
        for top, raw in given.items():
            rules = self._context.get(top)
            if rules is None:
                if raw is not None:
                    kept[top] = raw
                continue
            inner = raw if isinstance(raw, dict) else {"": raw}
            left: dict[str, Any] = {}
            for below, item in inner.items():
                path = f"{top}.{below}" if below else top
                value = _without_query(item) if path in _URL_FIELDS else item
                rule = rules.get(below)
                if rule is not None and has_type(rule, value):
                    clear[_CONTEXT + path] = value
                elif value is not None:
                    left[below] = value
            if left:
                kept[top] = left
        if kept:
            sealed["context"] = kept

    def _cut_traits(self, given: dict[str, Any]) -> tuple[tuple[Trait, ...], dict[str, Any]]:
        """Return the observations, and the traits whose names are not fit to be stored."""
        found: list[Trait] = []
        unnamed: dict[str, Any] = {}
        for name, value in _flat(given):
            folded = snake_case(name)
            if value is None:
                continue
            if not _TRAIT_NAME.fullmatch(folded):
                unnamed[name] = value
                continue
            rule = self._traits.get(folded)
            clear = rule is not None and has_type(rule, value)
            found.append(Trait(folded, _encode(value), clear))
        return tuple(found), unnamed


def snake_case(name: str) -> str:
    """Fold ``firstName`` and ``first_name`` to the same ``first_name``."""
    return _CAMEL.sub("_", name).lower()


def has_type(rule: FieldRule, value: object) -> bool:
    """True when ``value`` has the declared type and may therefore stay clear."""
    kind = rule.type
    if kind == "string":
        return isinstance(value, str) and not looks_personal(value)
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "time":
        return isinstance(value, str) and _is_time(value)
    return isinstance(value, list) and all(_is_item(rule, item) for item in value)


def _is_item(rule: FieldRule, item: object) -> bool:
    return isinstance(item, dict) and all(
        key in rule.items
        and (value is None or isinstance(value, int | float) or (isinstance(value, str) and not looks_personal(value)))
        for key, value in item.items()
    )


def _is_time(value: str) -> bool:
    try:
        parse_rfc3339(value)
    except ValueError:
        return False
    return True


def _flat(given: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return traits with one level of nesting joined by a dot."""
    pairs: list[tuple[str, Any]] = []
    for name, value in given.items():
        if isinstance(value, dict):
            pairs.extend((f"{name}.{below}", inner) for below, inner in value.items())
        else:
            pairs.append((name, value))
    return pairs


def _without_query(value: object) -> object:
    """Cut the query and the fragment off a URL; other values stay as they are."""
    if not isinstance(value, str):
        return value
    return value.split("?", 1)[0].split("#", 1)[0]
