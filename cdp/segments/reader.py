"""reader: the primitive parts of a definition, each read from plain data at a place or refused there.

A refusal names the line (YAML) or the path (JSON), and a name that is close to one that exists. No value that
was given enters a message; a name does when it looks like one.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn, cast
from zoneinfo import ZoneInfo

from cdp.clock import DAY, SECOND, Micros, parse_rfc3339
from cdp.errors import DefinitionError
from cdp.policy import FieldCatalogue, FieldRule, ValueType
from cdp.segments.definition import AGE, OfEvent, Operator, Value
from cdp.segments.document import Document, Path
from cdp.segments.moments import Moment, local, moment
from cdp.segments.scheduled import AT, EVERY, Schedule

MAX_CONDITIONS = 1000
MAX_TEXT = 1000
NAME = "[a-z0-9][a-z0-9_-]{0,99}"
"""The form of the name of a segment or list."""
DURATION = "([1-9][0-9]{0,6})([wdhm])"
"""The form of a window."""
_SHOWN = re.compile(r"[A-Za-z_][A-Za-z0-9_. -]{0,59}")
_UNITS: dict[str, Micros] = {"w": 7 * DAY, "d": DAY, "h": 3600 * SECOND, "m": 60 * SECOND}
_FAR = (0, 84_000 * DAY)  # from 1970 to the year 2200 a moment has to be one that can be written
_EQUALITY = ("eq", "ne", "in", "exists")
_ORDER = ("lt", "lte", "gt", "gte", "between")
OPERATORS: dict[str, tuple[str, ...]] = {
    "string": (*_EQUALITY, "contains", "starts_with"),
    "number": (*_EQUALITY, *_ORDER),
    "boolean": _EQUALITY,
    "time": (*_EQUALITY, *_ORDER),
}
COMPARISONS = (*_EQUALITY, *_ORDER, "contains", "starts_with")
CONTEXT = "context."
_OF_EVENT: dict[OfEvent, ValueType] = {
    "event.time": "time",
    AGE: "number",
    "event.hour": "number",
    "event.weekday": "number",
}
OF_EVENT: dict[str, FieldRule] = {
    name: FieldRule(name=name, category="", protection="clear", type=kind) for name, kind in _OF_EVENT.items()
}
"""What every event has, as if declared; of the category of the event itself."""
AGES = _ORDER
"""How an age is compared: it changes all the time, so it equals nothing for long."""
ZONED = frozenset({"event.hour", "event.weekday"})


class Reader:
    """Reads parts of one document.

    :param fields: what is declared now.
    """

    def __init__(self, document: Document, fields: FieldCatalogue) -> None:
        self._data = document.data
        self._lines = document.lines
        self._fields = fields
        self._properties = {
            **fields.properties,
            **{CONTEXT + name: rule for name, rule in fields.context.items()},
            **OF_EVENT,
        }
        self._conditions = 0
        self._zone = "UTC"

    def _comparison(self, path: Path, data: Mapping[str, Any], rule: FieldRule) -> tuple[Operator, Value]:
        op = data.get("op")
        allowed = OPERATORS[rule.type]
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

    def _one_comparison(
        self, path: Path, data: Mapping[str, Any], allowed: Sequence[str], what: str
    ) -> tuple[Operator, Any]:
        """Return the one operator that is a key of ``data``, and its value, of ``exists`` checked."""
        given = [op for op in COMPARISONS if op in data]
        if len(given) != 1:
            self._fail(path, f"{what} needs one comparison of: {', '.join(allowed)}")
        op = given[0]
        if op not in allowed:
            self._fail((*path, op), f"{what} is compared by one of: {', '.join(allowed)}")
        if op == "exists" and not isinstance(data[op], bool):
            self._fail((*path, op), "exists takes true or false")
        return cast("Operator", op), data[op]

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

    def _plain_value(self, path: Path, data: Any) -> str | float | int | bool:
        """Return a value of whichever type it is."""
        if isinstance(data, bool):
            return data
        return self._scalar(path, data, "string" if isinstance(data, str) else "number")

    def _property(self, path: Path, name: Any) -> FieldRule:
        return self._rule(path, name, "property", self._properties)

    def _rule(self, path: Path, name: Any, what: str, rules: Mapping[str, FieldRule]) -> FieldRule:
        """Return the rule of a declared, clear field that is no list."""
        rule = rules.get(name) if isinstance(name, str) else None
        section = "traits" if what == "trait" else "properties"
        if rule is None:
            hint = suggest(name, [known for known, item in rules.items() if item.clear])
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

    def _duration(self, path: Path, data: Any) -> Micros:
        found = re.fullmatch(DURATION, data) if isinstance(data, str) else None
        if found is None:
            self._fail(path, "a window is a number and d, h or m, such as 30d")
        return int(found[1]) * _UNITS[found[2]]

    def _time(self, path: Path, data: Any) -> Micros:
        found = self._moment(path, data)
        if isinstance(found, Moment):
            self._fail(path, "a value is compared with one instant; from and to take points of the calendar")
        return found

    def _moment(self, path: Path, data: Any) -> Micros | Moment:
        """Return an instant, or a point of the calendar that moves with the day."""
        try:
            calendar = moment(data, self._zone)
            if calendar is not None:
                for now in _FAR:
                    calendar.at(now)
                return calendar
            here = local(data, self._zone)
            return parse_rfc3339(data) if here is None else here
        except (ValueError, TypeError, OverflowError):
            self._fail(
                path,
                "a time is RFC 3339 text, such as 2026-01-31T00:00:00Z, a date or a time on the clocks of "
                "timezone, or a point of the calendar, such as today-7d or this_month-1mo",
            )

    def _timezone(self, path: Path, data: Any) -> str:
        try:
            return ZoneInfo(data).key
        except (ValueError, TypeError, OSError, KeyError, AttributeError):
            self._fail(path, "timezone is a name of the IANA time zone database, such as Europe/Berlin")

    def _schedule(self, path: Path, data: Any) -> Schedule:
        body = self._map(path, data, {"every", "at"}, "a schedule")
        every, at = body.get("every"), body.get("at", "00:00")
        if every not in EVERY:
            self._fail((*path, "every"), f"a schedule is every one of: {', '.join(EVERY)}")
        found = re.fullmatch(AT, at) if isinstance(at, str) else None
        if found is None or (every == "hour" and "at" in body):
            self._fail((*path, "at"), 'at is a time of day such as "06:00"; every hour has none')
        return Schedule(every, int(found[1]) * 60 + int(found[2]), self._zone)

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
        if not isinstance(data, str) or not is_name(data):
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
                    f"{what} has no key{_shown(key)}{suggest(key, known)}",
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


def is_name(text: str) -> bool:
    """True for what may name a segment or a list."""
    return re.fullmatch(NAME, text) is not None


def suggest(name: object, known: Collection[str]) -> str:
    """Return a hint at the known name that is close to ``name``, empty when none is."""
    close = difflib.get_close_matches(name[:60], sorted(known), 1) if isinstance(name, str) else []
    return f" (did you mean {close[0]}?)" if close else ""


def plain(data: Any) -> Any:
    """Return ``data`` as dicts and lists of its own."""
    if isinstance(data, Mapping):
        return {key: plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [plain(item) for item in data]
    return data
