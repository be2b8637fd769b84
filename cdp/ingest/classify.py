"""classify: an event → what ``policies/fields.yaml`` declares clear, and the rest, to be sealed.

Invariants: only a declared field whose value has its declared type, and does not itself hold an e-mail
address or a phone number, stays clear. Text does so on a page, a screen or a declared event only, because
"name" is a product's on Product Viewed and a person's elsewhere. Everything else is sealed, names included
where a name could be personal. A list of a property is cut item by item; one of a trait stays whole, while
every item is plain. What the policies let stay of a sealed trait (a birth date's age band) is a clear trait
beside it. So is the country or state in which a message was made (``context.location``), where the policies
declare the trait ``location.country`` as a hint: a place that may add a law and never takes one away. Query
strings and fragments are cut off URLs before anything else looks at them. An address that names nobody
(``Event.unnamed``) is nobody's trait: it stays sealed in its event, with what validates it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from prometheus_client import Counter

from cdp.clock import Micros, parse_rfc3339
from cdp.ingest.model import Classified, Event, Trait
from cdp.ingest.name import field_of
from cdp.ingest.validate import looks_personal
from cdp.policy import FieldCatalogue, FieldRule, generaliser

_encode = msgspec.json.encode
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PLAIN = re.compile(r"[\w.+@-]*", re.ASCII)
_TRAIT_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}(\.[a-z][a-z0-9_]{0,63}){0,3}")
_URL_FIELDS = frozenset({"url", "referrer", "page.url", "page.referrer"})
_NO_TEXT = frozenset({"number", "boolean", "time"})
_JSON: dict[str, type] = {"string": str, "list": list}
_CONTEXT = "context."
_HERE = "location.country"
_MAX_PLACE = 100
MISTYPED = Counter(
    "cdp_ingest_mistyped",
    "Values of another type than declared, which were sealed as they came in, since this process started",
    ["column"],
)


Fit = Callable[[object], bool]
"""Whether a value is of a type and may therefore stay clear."""


class Classifier:
    """Cuts events by the field catalogue."""

    def __init__(self, fields: FieldCatalogue) -> None:
        self._events = fields.events
        self._properties = {
            name: (rule, _FIT[rule.type]) for name, rule in fields.properties.items() if rule.clear
        }
        self._traits = {name: rule for name, rule in fields.traits.items() if rule.clear}
        self._generalised = {
            name: rule.generalise for name, rule in fields.traits.items() if rule.generalise is not None
        }
        told = [rule for name, rule in fields.traits.items() if name in fields.identifiers]
        self._of = {rule.validated_by: rule.name for rule in told} | {rule.name: rule.name for rule in told}
        self._told = tuple(rule.name for rule in told)
        here = self._traits.get(_HERE)
        self._here = here if here is not None and here.place == "hint" else None
        self._context: dict[str, dict[str, tuple[str, Fit]]] = {}
        for name, rule in fields.context.items():
            if rule.clear:
                top, _, below = name.partition(".")
                self._context.setdefault(top, {})[below] = name, _FIT[rule.type]

    def __call__(self, event: Event) -> Classified:
        """Return the event, cut."""
        clear: dict[str, Any] = {}
        sealed: dict[str, Any] = {}
        if event.properties:
            telling = event.type in ("page", "screen") or event.name in self._events
            kept = self._cut_properties(event.properties, clear, text=telling)
            if kept:
                sealed["properties"] = kept
        if event.context:
            self._cut_context(event.context, clear, sealed)
        traits, unnamed = self._cut_traits(event.traits, event) if event.traits else ((), {})
        if self._here is not None and "location" in event.context:
            traits += self._seen(self._here, event.context["location"])
        if unnamed:
            sealed["traits"] = unnamed
        if event.rest:
            sealed.update(event.rest)
        return Classified(
            event, _encode(clear) if clear else None, _encode(sealed) if sealed else None, traits
        )

    def _cut_properties(self, given: dict[str, Any], clear: dict[str, Any], *, text: bool) -> dict[str, Any]:
        """Fill ``clear``; returns what is left, to be sealed."""
        kept: dict[str, Any] = {}
        for name, raw in given.items():
            value = _without_query(raw) if name in _URL_FIELDS else raw
            rule, fits = self._properties.get(name, _UNDECLARED)
            if rule is None or not (text or rule.type in _NO_TEXT):
                if value is not None:
                    kept[name] = value
            elif rule.type == "list" and isinstance(value, list):
                clear[name], rest = _cut_items(rule, value)
                if any(rest):
                    kept[name] = rest
            elif fits(value):
                clear[name] = value
            elif value is not None:
                kept[name] = value
                _count(rule, value, name)
        return kept

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
                path, fits = rules.get(below) or (f"{top}.{below}" if below else top, _unfit)
                value = _without_query(item) if path in _URL_FIELDS else item
                if fits(value):
                    clear[_CONTEXT + path] = value
                elif value is not None:
                    left[below] = value
            if left:
                kept[top] = left
        if kept:
            sealed["context"] = kept

    def _cut_traits(self, given: dict[str, Any], event: Event) -> tuple[tuple[Trait, ...], dict[str, Any]]:
        """Return the observations, and what is none: of names not fit to be stored, and what names nobody."""
        found: list[Trait] = []
        unnamed: dict[str, Any] = {}
        told = {type_: field_of(given, type_) for type_ in self._told}
        silent = event.unnamed.union(
            type_ for type_, field in told.items() if not isinstance(given.get(field, ""), str)
        )
        for name, value in _flat(given):
            folded = snake_case(name)
            if value is None:
                continue
            if not _TRAIT_NAME.fullmatch(folded):
                unnamed[name] = value
                continue
            rule = self._traits.get(folded)
            clear = rule is not None and has_type(rule, value)
            of = self._of.get(folded, "")
            if of in silent or (of == folded and name != told[of]):  # no identifier was read from it
                unnamed[name] = value
                continue
            kept = _spelled(value, dict(event.identifiers).get(of, value)) if of == folded else value
            found.append(Trait(folded, _encode(kept), clear, of))
            if rule is not None:
                _count(rule, value, f"trait {folded}")
            if folded in self._generalised:
                found.extend(self._generalise(folded, value, event.received_at))
        return tuple(found), unnamed

    def _seen(self, rule: FieldRule, location: object) -> tuple[Trait, ...]:
        """Return the place of ``context.location`` (``country``, ``region``) as an observation."""
        given = location if isinstance(location, dict) else {}
        told = (given.get("country"), given.get("region"))
        parts = [part.strip() for part in told if isinstance(part, str) and part.strip()]
        place = "-".join(parts)
        if not place or len(place) > _MAX_PLACE or not has_type(rule, place):
            return ()
        return (Trait(_HERE, _encode(place), clear=True),)

    def _generalise(self, name: str, value: object, received_at: Micros) -> Iterator[Trait]:
        """Yield what may stay clear of a sealed trait, as of the day on which it came in."""
        rule = self._generalised[name]
        apply = generaliser(rule.by, name, received_at)
        kept = None if apply is None else apply(value)
        if kept is not None and has_type(self._traits[rule.into], kept):
            yield Trait(rule.into, _encode(kept), clear=True)


def _spelled(given: str, normal: str) -> str:
    """Return an address as it was sent where that is plain, else as it identifies its owner.

    Anybody may send somebody's address with a mark in it that nobody sees: nothing would reach them by that.
    """
    text = given.strip()
    return text if _PLAIN.fullmatch(text) else normal


def snake_case(name: str) -> str:
    """Fold ``firstName`` and ``first_name`` to the same ``first_name``."""
    return _CAMEL.sub("_", name).lower()


def has_type(rule: FieldRule, value: object) -> bool:
    """True when ``value`` has the declared type and may therefore stay clear."""
    return _FIT[rule.type](value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not looks_personal(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_boolean(value: object) -> bool:
    return isinstance(value, bool)


def _is_plain_list(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_plain, value))


def _unfit(_value: object) -> bool:
    return False


def _count(rule: FieldRule, value: object, column: str) -> None:
    """Count a value of another type than declared; text that is sealed for what it holds is none."""
    plain = _JSON.get(rule.type)
    if not (has_type(rule, value) if plain is None else isinstance(value, plain)):
        MISTYPED.labels(column).inc()


def _cut_items(rule: FieldRule, items: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return the declared, scalar parts of each item, and what is left of each, in the same order."""
    clear, rest = [], []
    for item in items:
        whole = item if isinstance(item, dict) else {}
        fit = {key: value for key, value in whole.items() if key in rule.items and _is_plain(value)}
        clear.append(fit)
        rest.append({key: value for key, value in whole.items() if key not in fit} if item is whole else item)
    return clear, rest


def _is_plain(value: object) -> bool:
    """True for numbers, truth values, and text that is neither a URL nor an address."""
    if isinstance(value, str):
        return "://" not in value and not looks_personal(value)
    return isinstance(value, int | float)


def _is_time(value: object) -> bool:
    if not isinstance(value, str):
        return False
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


_FIT: dict[str, Fit] = {
    "string": _is_text,
    "number": _is_number,
    "boolean": _is_boolean,
    "time": _is_time,
    "list": _is_plain_list,
}
_UNDECLARED: tuple[None, Fit] = None, _unfit
