"""event_reader: what a definition says of events: which ones, in what time, and what they amount to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from cdp.policy import FieldRule, ValueType
from cdp.segments.definition import (
    AGE,
    COUNTS,
    Aggregate,
    Condition,
    Event,
    EventType,
    Function,
    Operator,
    Value,
)
from cdp.segments.document import Path
from cdp.segments.reader import AGES, COMPARISONS, OPERATORS, ZONED, Reader

FUNCTIONS = ("count", "sum", "avg", "min", "max", "distinct", "first", "last", "most_frequent")
_EVENT = ("event", "type", "where", "within", "from", "to", *FUNCTIONS)


class EventReader(Reader):
    """Reads conditions on events."""

    def _event(
        self, path: Path, data: Any, what: str, *, compared: bool, more: Collection[str] = ()
    ) -> Event:
        """Return the events of a map and what they amount to.

        :param compared: there is a comparison, or no aggregate; else the amount itself is meant, a count
            where nothing else is said.
        :param more: other keys that the map may have.
        """
        self._map(path, data, {*_EVENT, *more}, what)
        if "event" not in data:
            self._fail(path, f"{what} needs the key event")
        start, end = (
            self._moment((*path, key), data[key]) if key in data else None for key in ("from", "to")
        )
        if "within" in data and (start is not None or end is not None):
            self._fail(path, "an event has either within, or from and to")
        if isinstance(start, int) and isinstance(end, int) and start >= end:
            self._fail((*path, "to"), "to must be later than from")
        name, kind, where = self._happening(path, data)
        return Event(
            name=name,
            type=kind,
            where=where,
            aggregate=self._aggregate(path, data, compared=compared),
            within=self._duration((*path, "within"), data["within"]) if "within" in data else None,
            start=start,
            end=end,
        )

    def _happening(self, path: Path, data: Mapping[str, Any]) -> tuple[str, EventType, tuple[Condition, ...]]:
        """Return which events a map is about: their name, their type, what holds of each."""
        kind = data.get("type", "track")
        if kind not in {"track", "page", "screen"}:
            self._fail((*path, "type"), "the type of an event is track, page or screen")
        where = (*path, "where")
        conditions = enumerate(self._items(where, data.get("where", [])))
        return (
            self._text((*path, "event"), data["event"]),
            cast("EventType", kind),
            tuple(self._condition((*where, place), item) for place, item in conditions),
        )

    def _condition(self, path: Path, data: Any) -> Condition:
        self._count(path)
        data = self._map(path, data, {"property", "op", "value"}, "a condition on a property")
        if "property" not in data:
            self._fail(path, "a condition on a property needs the key property")
        name = data["property"]
        rule = self._property((*path, "property"), name)
        op, value = self._comparison(path, data, rule)
        if name == AGE and op not in AGES:
            self._fail((*path, "op"), f"{AGE} is compared by one of: {', '.join(AGES)}")
        return Condition(name, op, value, rule.type, self._zone_of(name))

    def _aggregate(self, path: Path, data: Mapping[str, Any], *, compared: bool) -> Aggregate | None:
        given = [name for name in FUNCTIONS if name in data]
        if len(given) > 1:
            self._fail(path, f"an event has one aggregate; here are {' and '.join(given)}")
        if not given:
            return None if compared else Aggregate("count", "", "exists", True, "number")
        function = cast("Function", given[0])
        path = (*path, function)
        body = self._map(path, data[function], {"property", *(COMPARISONS if compared else ())}, function)
        kind: ValueType = "number"
        if function == "count" and "property" in body:
            self._fail(path, "count takes no property; distinct counts the values of one")
        if function != "count":
            if "property" not in body:
                self._fail(path, f"{function} needs the key property")
            kind = self._aggregated(path, function, self._property((*path, "property"), body["property"]))
        name = body.get("property", "")
        op, value = self._compared(path, body, function, kind) if compared else ("exists", True)
        return Aggregate(function, name, op, value, kind, self._zone_of(name))

    def _compared(
        self, path: Path, body: Mapping[str, Any], function: Function, kind: ValueType
    ) -> tuple[Operator, Value]:
        """Return how an amount is compared, and with what."""
        allowed = OPERATORS[kind]
        if body.get("property") == AGE:
            allowed = (*AGES, "exists")
        if function in COUNTS:  # which always exist: of nothing they are 0
            allowed = tuple(op for op in allowed if op != "exists")
        op, value = self._one_comparison(path, body, allowed, function)
        return op, value if op == "exists" else self._value((*path, op), op, value, kind)

    def _aggregated(self, path: Path, function: Function, rule: FieldRule) -> ValueType:
        """Return the type of what ``function`` makes of a property."""
        if rule.name == AGE and function not in {"min", "max"}:
            self._fail(path, f"{AGE} changes all the time: take its min or max, or compare it under where")
        if function == "distinct":
            return "number"
        if function in {"sum", "avg"} and rule.type != "number":
            self._fail(path, f"{function} needs a property of type number; this one is a {rule.type}")
        if function in {"min", "max"} and rule.type not in {"number", "time"}:
            self._fail(path, f"{function} needs a number or a time; this property is a {rule.type}")
        return rule.type

    def _zone_of(self, name: str) -> str:
        return self._zone if name in ZONED else ""
