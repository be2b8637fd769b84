"""An event → counts of the names and types of its fields, in memory; no value is kept.

Invariants: what an event costs is bounded, as is what is kept. Each event of a source is looked at field by
field the first thousand times between two ``take``, and every sixteenth time after that; how often it came is
counted always. A name leaves this file only when it could be declared and cannot be personal itself: an
event of ``track`` has a name that programmers gave it, a page has whatever title it has, so the names of
pages and screens are those that the policies declare. Events whose names stay out count together.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Container, Iterable

import msgspec

from cdp.ingest.catalogue.model import Part
from cdp.ingest.classify import snake_case
from cdp.ingest.model import Event
from cdp.ingest.validate import looks_personal

FIRST, EVERY = 1_000, 16
_TALLIES, _FIELDS = 5_000, 1_000
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,63}(\.[a-z][a-z0-9_]{0,63}){0,3}")
_EVENT = re.compile(r"[A-Za-z][A-Za-z0-9 _:./()&-]{0,99}")
_LONG_NUMBER = re.compile(r"\d{5}")
_EXTERNAL = "external:"
_TYPES: dict[type, str] = {
    str: "string", bool: "boolean", int: "number", float: "number", list: "list", dict: "object",
    type(None): "null",
}  # fmt: skip

EventKey = tuple[int, str, str]
"""(source_id, type, name); of all events of a source (source_id, "", "")."""
FieldKey = tuple[Part, str, str]
"""(part, name, JSON type)."""


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """What came of one event of a source, as it may be told.

    :param fields: how often each came, among those that were looked at.
    """

    key: EventKey
    seen: int
    looked_at: int
    fields: tuple[tuple[FieldKey, int], ...]

    def plus(self, more: Taken) -> Taken:
        """Return both as one."""
        fields = dict(self.fields)
        for key, count in more.fields:
            if key in fields or len(fields) < _FIELDS:
                fields[key] = fields.get(key, 0) + count
        return Taken(self.key, self.seen + more.seen, self.looked_at + more.looked_at, tuple(fields.items()))


class Tally:
    """What came of one event of a source since the last flush.

    :param whole: that of all events of the source; itself where it is that one.
    """

    __slots__ = ("fields", "key", "looked_at", "seen", "whole")

    def __init__(self, key: EventKey, whole: Tally | None = None) -> None:
        self.key = key
        self.whole = whole or self
        self.seen = 0
        self.looked_at = 0
        self.fields: dict[tuple[Part, str, type], int] = {}

    def add(self, part: Part, name: str, value: object) -> None:
        """Count a field of an event that is looked at."""
        key = part, name, type(value)
        if key in self.fields:
            self.fields[key] += 1
        elif len(self.fields) < _FIELDS:
            self.fields[key] = 1

    def told(self) -> Taken:
        """Return what may be told of it."""
        found: dict[FieldKey, int] = {}
        for (part, name, kind), count in self.fields.items():
            if kind in _TYPES and fit(name.removeprefix(_EXTERNAL) if part == "identifiers" else name):
                key = part, name, _TYPES[kind]
                found[key] = found.get(key, 0) + count
        return Taken(self.key, self.seen, self.looked_at, tuple(found.items()))


class Shapes:
    """Counts what the events look like that pass by.

    :param events: the names that the policies declare.
    """

    def __init__(self, events: Container[str]) -> None:
        self.events = events
        self._lock = threading.Lock()  # several threads prepare events
        self._tallies: dict[EventKey, Tally] = {}
        self._brought: dict[EventKey, Taken] = {}

    def note(self, event: Event) -> None:
        """Count an event; called for each one."""
        key = event.message.delivery.source.source_id, event.type, event.name
        with self._lock:
            own = self._tallies.get(key) or self._begin(key)
            if own is None:
                return
            own.seen += 1
            if own.seen <= FIRST or not own.seen % EVERY:
                own.looked_at += 1
                for name, value in event.properties.items():
                    own.add("properties", name, value)
                traits = event.rest.get("traits") if event.type == "group" else event.traits
                if isinstance(traits, dict) and traits:
                    _nested(own, "traits", traits)
            whole = own.whole
            whole.seen += 1
            if whole.seen <= FIRST or not whole.seen % EVERY:
                whole.looked_at += 1
                _nested(whole, "context", event.context)
                for kind, value in event.identifiers:
                    whole.add("identifiers", kind, value)

    def bring(self, taken: Iterable[Taken]) -> None:
        """Count what another process counted, as far as there is room for it."""
        with self._lock:
            brought = self._brought
            for more in taken:
                held = brought.get(more.key)
                if held is not None:
                    brought[more.key] = held.plus(more)
                elif len(brought) < _TALLIES:
                    brought[more.key] = more

    def take(self) -> list[Taken]:
        """Return what was counted since the last time, each event once, and begin anew."""
        with self._lock:
            tallies, self._tallies = self._tallies, {}
            found, self._brought = self._brought, {}
        for tally in {tally.key: tally for tally in tallies.values()}.values():
            held, told = found.get(tally.key), tally.told()
            found[tally.key] = told if held is None else held.plus(told)
        return list(found.values())

    def _begin(self, key: EventKey) -> Tally | None:
        """Return the tally of an event that came for the first time; None where there are too many."""
        source_id, type_, name = key
        if not (name in self.events or (type_ == "track" and _fit_event(name))):
            name = ""
        tallies = self._tallies
        told: EventKey = source_id, type_, name
        own = tallies.get(told)
        if len(tallies) >= _TALLIES:
            return own
        if own is None:
            all_of = source_id, "", ""
            whole = tallies.setdefault(all_of, Tally(all_of))
            own = tallies[told] = Tally(told, whole)
        tallies[key] = own
        return own


def fit(name: str) -> bool:
    """True for a name that may be stored: it could be declared, and is nobody's address or number."""
    folded = snake_case(name)
    return _FIELD.fullmatch(folded) is not None and not looks_personal(name) and not _LONG_NUMBER.search(name)


def _fit_event(name: str) -> bool:
    return _EVENT.fullmatch(name) is not None and not _LONG_NUMBER.search(name)


def _nested(tally: Tally, part: Part, given: dict[str, object]) -> None:
    """Count fields, and those one level below them, as the classifier cuts them."""
    for name, value in given.items():
        tally.add(part, name, value)
        if isinstance(value, dict):
            for below, inner in value.items():
                tally.add(part, f"{name}.{below}", inner)
