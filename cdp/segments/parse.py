"""parse: plain data → a checked ``Definition``.

Everything that can be wrong with a definition on its own is refused here, with the line (YAML) or the
path (JSON), and a suggestion where a name is close to one that exists: unknown keys and names, wrong
types, fields that are sealed, undeclared or lists, too much of anything. What depends on other
segments is checked in ``references``.

No value that was given enters a message; a name does when it looks like one.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn, cast

from cdp.clock import DAY, SECOND, Micros, parse_rfc3339
from cdp.errors import DefinitionError
from cdp.policy import FieldCatalogue, FieldRule, ValueType
from cdp.segments.definition import (
    Aggregate,
    All,
    Any_,
    Condition,
    Definition,
    Event,
    EventType,
    Function,
    ListOf,
    Node,
    Not,
    Operator,
    Sample,
    SegmentOf,
    Trait,
    Value,
)
from cdp.segments.document import Document, Path, read

MAX_NESTING = 50
MAX_CONDITIONS = 1000
MAX_TEXT = 1000
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
_SHOWN = re.compile(r"[A-Za-z_][A-Za-z0-9_. -]{0,59}")
_DURATION = re.compile(r"([1-9][0-9]{0,6})([dhm])")
_UNITS: dict[str, Micros] = {"d": DAY, "h": 3600 * SECOND, "m": 60 * SECOND}
_EQUALITY = ("eq", "ne", "in", "exists")
_ORDER = ("lt", "lte", "gt", "gte", "between")
_OPERATORS: dict[str, tuple[str, ...]] = {
    "string": (*_EQUALITY, "contains", "starts_with"),
    "number": (*_EQUALITY, *_ORDER),
    "boolean": _EQUALITY,
    "time": (*_EQUALITY, *_ORDER),
}
_COMPARISONS = ("eq", "ne", *_ORDER)
_FUNCTIONS = ("count", "sum", "avg", "min", "max", "distinct", "first", "last")
_NODES = ("all", "any", "not", "trait", "event", "segment", "list", "sample")
_LATER = ("sequence", "tag")
_CONTEXT = "context."


def parse(
    source: str | bytes | Mapping[str, Any] | Definition, fields: FieldCatalogue, name: str | None = None
) -> Definition:
    """Return the definition that ``source`` holds.

    :param source: YAML or JSON text, decoded data, or a definition to be checked anew.
    :param fields: what is declared now.
    :param name: its name when ``source`` may leave it out; empty for a preview.
    :raises DefinitionError: it cannot be understood, or is refused; names the place and the fix.
    """
    document = Document(source.source, {}) if isinstance(source, Definition) else read(source)
    try:
        return _Parser(document, fields).definition(name)
    except RecursionError as error:
        raise DefinitionError(f"the definition is nested deeper than {MAX_NESTING} levels") from error


class _Parser:
    def __init__(self, document: Document, fields: FieldCatalogue) -> None:
        self._data = document.data
        self._lines = document.lines
        self._fields = fields
        self._properties = {
            **fields.properties,
            **{_CONTEXT + name: rule for name, rule in fields.context.items()},
        }
        self._conditions = 0
        self._salt = ""

    def definition(self, name: str | None) -> Definition:
        data = self._map((), self._data, {"name", "description", "where"}, "a definition")
        given = data.get("name", name)
        if given is None:
            self._fail((), "the definition needs a name")
        if given != "" and not (isinstance(given, str) and _NAME.fullmatch(given)):
            self._fail(("name",), "a name has 1 to 100 lower-case letters, digits, hyphens and underscores")
        if name and given != name:
            self._fail(("name",), "the definition's name differs from the name it is stored under")
        if "where" not in data:
            self._fail((), "the definition needs the key where")
        self._salt = given
        description = self._text(("description",), data.get("description", ""), empty=True)
        where = self._node(("where",), data["where"], 1)
        return Definition(given, description, where, {**_plain(data), "name": given})

    # -- nodes ----------------------------------------------------------------------------------

    def _node(self, path: Path, data: Any, depth: int) -> Node:
        if depth > MAX_NESTING:
            self._fail(path, f"nested deeper than {MAX_NESTING} levels")
        if not isinstance(data, Mapping):
            self._fail(path, f"a condition is a map with one of: {', '.join(_NODES)}")
        for later in _LATER:
            if later in data:
                self._fail((*path, later), f"{later} is not available yet")
        kind = next((kind for kind in _NODES if kind in data), None)
        if kind is None:
            unknown = next(iter(data), "")
            hint = _suggest(unknown, _NODES)
            self._fail(path, f"a condition has one of the keys {', '.join(_NODES)}{hint}")
        self._count(path)
        read_node: Callable[[Path, Any, int], Node] = getattr(self, f"_on_{kind}")
        return read_node(path, data, depth)

    def _on_all(self, path: Path, data: Any, depth: int) -> Node:
        return All(self._parts(path, data, "all", depth))

    def _on_any(self, path: Path, data: Any, depth: int) -> Node:
        return Any_(self._parts(path, data, "any", depth))

    def _on_not(self, path: Path, data: Any, depth: int) -> Node:
        self._map(path, data, {"not"}, "not")
        return Not(self._node((*path, "not"), data["not"], depth + 1))

    def _parts(self, path: Path, data: Any, key: str, depth: int) -> tuple[Node, ...]:
        self._map(path, data, {key}, key)
        path = (*path, key)
        parts = self._items(path, data[key])
        if not parts:
            self._fail(path, f"{key} needs at least one condition")
        self._conditions -= 1  # the combination itself is none
        return tuple(self._node((*path, place), part, depth + 1) for place, part in enumerate(parts))

    def _on_trait(self, path: Path, data: Any, _depth: int) -> Node:
        self._map(path, data, {"trait", "op", "value"}, "a trait condition")
        rule = self._rule((*path, "trait"), data["trait"], "trait", self._fields.traits)
        op, value = self._comparison(path, data, rule)
        flag = self._fields.traits[rule.validated_by].expires if rule.validated_by else None
        return Trait(
            data["trait"], op, value, rule.type, rule.survivorship, rule.expires, rule.validated_by, flag
        )

    def _on_event(self, path: Path, data: Any, _depth: int) -> Node:
        keys = {"event", "type", "where", "within", "from", "to", *_FUNCTIONS}
        self._map(path, data, keys, "an event condition")
        kind = data.get("type", "track")
        if kind not in {"track", "page", "screen"}:
            self._fail((*path, "type"), "the type of an event is track, page or screen")
        start, end = (self._time((*path, key), data[key]) if key in data else None for key in ("from", "to"))
        if "within" in data and (start is not None or end is not None):
            self._fail(path, "an event has either within, or from and to")
        if start is not None and end is not None and start >= end:
            self._fail((*path, "to"), "to must be later than from")
        where = (*path, "where")
        conditions = enumerate(self._items(where, data.get("where", [])))
        return Event(
            name=self._text((*path, "event"), data["event"]),
            type=cast("EventType", kind),
            where=tuple(self._condition((*where, place), item) for place, item in conditions),
            aggregate=self._aggregate(path, data),
            within=self._duration((*path, "within"), data["within"]) if "within" in data else None,
            start=start,
            end=end,
        )

    def _on_segment(self, path: Path, data: Any, _depth: int) -> Node:
        self._map(path, data, {"segment"}, "a segment condition")
        return SegmentOf(self._reference((*path, "segment"), data["segment"]))

    def _on_list(self, path: Path, data: Any, _depth: int) -> Node:
        self._map(path, data, {"list"}, "a list condition")
        return ListOf(self._reference((*path, "list"), data["list"]))

    def _on_sample(self, path: Path, data: Any, _depth: int) -> Node:
        self._map(path, data, {"sample", "salt"}, "a sample condition")
        share = data["sample"]
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            self._fail((*path, "sample"), "sample is a share above 0 and up to 1, such as 0.1")
        return Sample(float(share), self._text((*path, "salt"), data.get("salt", self._salt), empty=True))

    # -- parts of leaves ------------------------------------------------------------------------

    def _condition(self, path: Path, data: Any) -> Condition:
        self._count(path)
        data = self._map(path, data, {"property", "op", "value"}, "a condition on a property")
        if "property" not in data:
            self._fail(path, "a condition on a property needs the key property")
        rule = self._property((*path, "property"), data["property"])
        op, value = self._comparison(path, data, rule)
        return Condition(data["property"], op, value, rule.type)

    def _aggregate(self, path: Path, data: Mapping[str, Any]) -> Aggregate | None:
        given = [name for name in _FUNCTIONS if name in data]
        if not given:
            return None
        if len(given) > 1:
            self._fail(path, f"an event has one aggregate; here are {' and '.join(given)}")
        function = cast("Function", given[0])
        path = (*path, function)
        body = self._map(path, data[function], {"property", *_COMPARISONS}, function)
        kind: ValueType = "number"
        if function == "count" and "property" in body:
            self._fail(path, "count takes no property; distinct counts the values of one")
        if function != "count":
            if "property" not in body:
                self._fail(path, f"{function} needs the key property")
            kind = self._aggregated(path, function, self._property((*path, "property"), body["property"]))
        ops = [op for op in _COMPARISONS if op in body]
        if len(ops) != 1:
            self._fail(path, f"{function} needs one comparison of: {', '.join(_COMPARISONS)}")
        op = cast("Operator", ops[0])
        if op not in _OPERATORS[kind]:
            self._fail((*path, op), f"{op} does not apply to a {kind}")
        return Aggregate(
            function, body.get("property", ""), op, self._value((*path, op), op, body[op], kind), kind
        )

    def _aggregated(self, path: Path, function: Function, rule: FieldRule) -> ValueType:
        """Return the type of what ``function`` makes of a property."""
        if function == "distinct":
            return "number"
        if function in {"sum", "avg"} and rule.type != "number":
            self._fail(path, f"{function} needs a property of type number; this one is a {rule.type}")
        if function in {"min", "max"} and rule.type not in {"number", "time"}:
            self._fail(path, f"{function} needs a number or a time; this property is a {rule.type}")
        return rule.type

    def _comparison(self, path: Path, data: Mapping[str, Any], rule: FieldRule) -> tuple[Operator, Value]:
        op = data.get("op")
        allowed = _OPERATORS[rule.type]
        if not isinstance(op, str) or op not in allowed:
            self._fail((*path, "op"), f"a {rule.type} is compared by one of: {', '.join(allowed)}")
        if op == "exists":
            value = data.get("value", True)
            if not isinstance(value, bool):
                self._fail((*path, "value"), "exists takes true, false or nothing")
            return "exists", value
        if "value" not in data:
            self._fail(path, f"{op} needs the key value")
        return cast("Operator", op), self._value((*path, "value"), op, data["value"], rule.type)

    def _value(self, path: Path, op: str, data: Any, kind: ValueType) -> Value:
        if op == "in":
            items = self._items(path, data)
            if not 0 < len(items) <= MAX_CONDITIONS:
                self._fail(path, f"in takes a list of 1 to {MAX_CONDITIONS} values")
            return tuple(self._scalar((*path, place), item, kind) for place, item in enumerate(items))
        if op == "between":
            items = self._items(path, data)
            if len(items) != 2:
                self._fail(path, "between takes a list of two values, both included")
            low, high = (self._scalar((*path, place), item, kind) for place, item in enumerate(items))
            if cast("float", low) > cast("float", high):
                self._fail(path, "between takes the smaller value first")
            return (low, high)
        return self._scalar(path, data, kind)

    def _scalar(self, path: Path, data: Any, kind: ValueType) -> str | float | int | bool:
        if kind == "string":
            return self._text(path, data, empty=True)
        if kind == "time":
            return self._time(path, data)
        if kind == "boolean":
            if not isinstance(data, bool):
                self._fail(path, "this is compared with true or false")
            return data
        if isinstance(data, bool) or not isinstance(data, int | float):
            self._fail(path, "this is compared with a number")
        try:
            number = float(data)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self._fail(path, "this number is out of range")
        return number

    def _property(self, path: Path, name: Any) -> FieldRule:
        return self._rule(path, name, "property", self._properties)

    def _rule(self, path: Path, name: Any, what: str, rules: Mapping[str, FieldRule]) -> FieldRule:
        """Return the rule of a declared, clear field that is no list."""
        rule = rules.get(name) if isinstance(name, str) else None
        section = "traits" if what == "trait" else "properties"
        if rule is None:
            hint = _suggest(name, [known for known, item in rules.items() if item.clear])
            self._fail(
                path,
                f"the {what}{_shown(name)} is not declared, so its values are sealed{hint}; "
                f"to segment on it, declare it under {section} in policies/fields.yaml, clear",
            )
        if not rule.clear:
            self._fail(
                path,
                f"the {what}{_shown(name)} is sealed (category {rule.category}) and segments read clear "
                f"fields only; declare a generalisation that may stay clear in policies/fields.yaml",
            )
        if rule.type == "list":
            self._fail(path, f"the {what}{_shown(name)} is a list; a segment compares single values only")
        return rule

    # -- plain values ---------------------------------------------------------------------------

    def _duration(self, path: Path, data: Any) -> Micros:
        found = _DURATION.fullmatch(data) if isinstance(data, str) else None
        if found is None:
            self._fail(path, "a window is a number and d, h or m, such as 30d")
        return int(found[1]) * _UNITS[found[2]]

    def _time(self, path: Path, data: Any) -> Micros:
        try:
            return parse_rfc3339(data)
        except (ValueError, TypeError):
            self._fail(path, "a time is RFC 3339 text, such as 2026-01-31T00:00:00Z")

    def _text(self, path: Path, data: Any, *, empty: bool = False) -> str:
        if not isinstance(data, str) or not (data or empty):
            self._fail(path, "this is text")
        if len(data) > MAX_TEXT:
            self._fail(path, f"this text has more than {MAX_TEXT} characters")
        try:
            data.encode()
        except UnicodeEncodeError:
            self._fail(path, "this text has a lone surrogate")
        if "\0" in data:
            self._fail(path, "this text has a NUL character")
        return data

    def _reference(self, path: Path, data: Any) -> str:
        if not isinstance(data, str) or not _NAME.fullmatch(data):
            self._fail(path, "a name has 1 to 100 lower-case letters, digits, hyphens and underscores")
        return data

    def _items(self, path: Path, data: Any) -> list[Any]:
        if not isinstance(data, list | tuple):
            self._fail(path, "this is a list")
        return list(data)

    def _map(self, path: Path, data: Any, known: Collection[str], what: str) -> Mapping[str, Any]:
        if not isinstance(data, Mapping):
            self._fail(path, f"{what} is a map")
        for key in data:
            if key not in known:
                place = (*path, key) if (*path, key) in self._lines else path
                self._fail(
                    place,
                    f"{what} has no key{_shown(key)}{_suggest(key, known)}",
                    shown=path,
                )
        return data

    def _count(self, path: Path) -> None:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            self._fail(path, f"the definition has more than {MAX_CONDITIONS} conditions")

    def _fail(self, path: Path, message: str, *, shown: Path | None = None) -> NoReturn:
        """Refuse, naming the line where there is one and the path.

        :param shown: the path to show, when the last key of ``path`` is not ours to repeat.
        """
        known = path
        while known and known not in self._lines:
            known = known[:-1]
        line = f"line {self._lines[known]}, " if known in self._lines else ""
        text = "".join(
            f"[{key}]" if isinstance(key, int) else f".{key}" for key in (path if shown is None else shown)
        )
        raise DefinitionError(f"{line}{text.lstrip('.') or 'the definition'}: {message}")


def _shown(name: object) -> str:
    return f" {name}" if isinstance(name, str) and _SHOWN.fullmatch(name) else ""


def _suggest(name: object, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name[:60], sorted(known), 1) if isinstance(name, str) else []
    return f" (did you mean {close[0]}?)" if close else ""


def _plain(data: Any) -> Any:
    """Return ``data`` as dicts and lists of its own."""
    if isinstance(data, Mapping):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(item) for item in data]
    return data
