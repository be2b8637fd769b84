"""parse: plain data → a checked ``Definition``.

Everything that can be wrong with a definition on its own is refused here, with the line (YAML) or the
path (JSON), and a suggestion where a name is close to one that exists: unknown keys and names, wrong
types, fields that are sealed, undeclared or lists, too much of anything. What depends on other
segments is checked in ``references``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from cdp.errors import DefinitionError
from cdp.policy import FieldCatalogue
from cdp.segments.definition import (
    All,
    Any_,
    Definition,
    Event,
    ListOf,
    Node,
    Not,
    Ratio,
    Sample,
    SegmentOf,
    Sequence,
    Step,
    TagOf,
    Trait,
    Value,
)
from cdp.segments.document import Document, Path, read
from cdp.segments.event_reader import EventReader
from cdp.segments.reader import COMPARISONS, OPERATORS, is_name, plain, suggest

MAX_NESTING = 50
MAX_STEPS = 20
_NODES = ("all", "any", "not", "trait", "event", "sequence", "ratio", "tag", "segment", "list", "sample")


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
        return Parser(document, fields).definition(name)
    except RecursionError as error:
        raise DefinitionError(f"the definition is nested deeper than {MAX_NESTING} levels") from error


def parse_checked(source: Mapping[str, Any], fields: FieldCatalogue) -> Definition:
    """Return a definition made of parts that were checked, however deep it is."""
    parser = Parser(Document(source, {}), fields)
    parser.deepest = sys.maxsize
    return parser.definition(None)


class Parser(EventReader):
    """Reads conditions; a sample without a salt is drawn under the definition's name."""

    deepest = MAX_NESTING
    _salt = ""

    def definition(self, name: str | None) -> Definition:
        """Return the definition of a segment; parameters and errors as of ``parse``."""
        data = self._map(
            (), self._data, {"name", "description", "timezone", "schedule", "where"}, "a definition"
        )
        given = data.get("name", name)
        if given is None:
            self._fail((), "the definition needs a name")
        if given != "" and not (isinstance(given, str) and is_name(given)):
            self._fail(("name",), "a name has 1 to 100 lower-case letters, digits, hyphens and underscores")
        if name and given != name:
            self._fail(("name",), "the definition's name differs from the name it is stored under")
        if "where" not in data:
            self._fail((), "the definition needs the key where")
        self._salt = given
        if "timezone" in data:
            self._zone = self._timezone(("timezone",), data["timezone"])
        description = self._text(("description",), data.get("description", ""), empty=True)
        where = self._node(("where",), data["where"], 1)
        schedule = self._schedule(("schedule",), data["schedule"]) if "schedule" in data else None
        return Definition(given, description, where, {**plain(data), "name": given}, schedule)

    # -- nodes ----------------------------------------------------------------------------------

    def _node(self, path: Path, data: Any, depth: int) -> Node:
        if depth > self.deepest:
            self._fail(path, f"nested deeper than {MAX_NESTING} levels")
        if not isinstance(data, Mapping):
            self._fail(path, f"a condition is a map with one of: {', '.join(_NODES)}")
        kind = next((kind for kind in _NODES if kind in data), None)
        if kind is None:
            unknown = next(iter(data), "")
            hint = suggest(unknown, _NODES)
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
        return self._event(path, data, "an event condition", compared=True)

    def _on_ratio(self, path: Path, data: Any, _depth: int) -> Node:
        self._map(path, data, {"ratio", *OPERATORS["number"]}, "a ratio")
        of, to = self._ratio((*path, "ratio"), data["ratio"])
        op, value = self._one_comparison(path, data, OPERATORS["number"], "a ratio")
        return Ratio(of, to, op, value if op == "exists" else self._value((*path, op), op, value, "number"))

    def _ratio(self, path: Path, data: Any) -> tuple[Event, Event]:
        """Return what is divided, and by what."""
        sides = self._map(path, data, {"of", "to"}, "a ratio")
        found = []
        for side in ("of", "to"):
            if side not in sides:
                self._fail(path, f"a ratio needs the key {side}")
            self._count((*path, side))
            event = self._event((*path, side), sides[side], "a part of a ratio", compared=False)
            if event.aggregate is None or event.aggregate.type != "number":
                self._fail((*path, side), "a part of a ratio is a number")
            found.append(event)
        return found[0], found[1]

    def _on_tag(self, path: Path, data: Any, _depth: int) -> Node:
        self._map(path, data, {"tag", "op", "value"}, "a tag condition")
        name, op = self._reference((*path, "tag"), data["tag"]), data.get("op")
        if op not in COMPARISONS:
            self._fail((*path, "op"), f"a tag is compared by one of: {', '.join(COMPARISONS)}")
        if op != "exists" and "value" not in data:
            self._fail(path, f"{op} needs the key value")
        return TagOf(name, op, self._given((*path, "value"), data.get("value", True)))

    def _given(self, path: Path, data: Any) -> Value:
        """Return a value or several of any type."""
        if not isinstance(data, list):
            return self._plain_value(path, data)
        return tuple(self._plain_value((*path, place), item) for place, item in enumerate(data))

    def _on_sequence(self, path: Path, data: Any, _depth: int) -> Node:
        self._map(path, data, {"sequence", "within"}, "a sequence")
        place = (*path, "sequence")
        items = self._items(place, data["sequence"])
        if not 1 <= len(items) <= MAX_STEPS:
            self._fail(place, f"a sequence has 1 to {MAX_STEPS} steps")
        steps = tuple(self._step((*place, number), item, number) for number, item in enumerate(items))
        if steps[0].negated:
            self._fail(
                (*place, 0), "the first step is one that happens: there is nothing that it comes after"
            )
        for number in range(len(steps) - 1, 0, -1):
            if not steps[number].negated:
                break
            if steps[number].within is None:
                message = "a last step that does not happen needs within, to say until when it has not"
                self._fail((*place, number), message)
        within = self._duration((*path, "within"), data["within"]) if "within" in data else None
        return Sequence(steps, within)

    def _step(self, path: Path, data: Any, number: int) -> Step:
        self._count(path)
        keys = {"event", "type", "where", "within"}
        negated = isinstance(data, Mapping) and "not" in data
        step = self._map(path, data, {"not", "within"} if negated else keys, "a step")
        if "within" in step and not number:
            self._fail(
                (*path, "within"),
                "the first step comes after none; the within of the sequence itself reaches back from now",
            )
        within = self._duration((*path, "within"), step["within"]) if "within" in step else None
        if negated:
            path = (*path, "not")
            step = self._map(path, step["not"], keys - {"within"}, "a step that does not happen")
        if "event" not in step:
            self._fail(path, "a step needs the key event")
        name, kind, where = self._happening(path, step)
        return Step(name=name, type=kind, where=where, within=within, negated=negated)

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
