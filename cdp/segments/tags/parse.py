"""parse: plain data → a checked ``TagDefinition``, by the same rules as a segment's conditions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast, get_args

from cdp.errors import DefinitionError
from cdp.policy import FieldCatalogue, ValueType
from cdp.segments.definition import Event, Ratio
from cdp.segments.document import Document, read
from cdp.segments.parse import MAX_NESTING, Parser
from cdp.segments.reader import is_name, plain
from cdp.segments.tags.model import Case, Form, TagDefinition, TagKind

MAX_CASES = 50
MAX_CLASSES = 100
_FORMS = get_args(Form)
_KEYS: dict[Form, tuple[str, ...]] = {
    "cases": ("cases", "otherwise"),
    "amount": ("amount",),
    "ratio": ("ratio",),
    "score": ("score", "into", "thresholds", "best"),
}


def parse_tag(
    source: str | bytes | Mapping[str, Any], fields: FieldCatalogue, name: str | None = None
) -> TagDefinition:
    """Return the definition that ``source`` holds.

    :param source: YAML or JSON text, or decoded data.
    :param fields: what is declared now.
    :param name: its name when ``source`` may leave it out.
    :raises DefinitionError: it cannot be understood, or is refused; names the place and the fix.
    """
    try:
        return _TagParser(read(source), fields).tag(name)
    except RecursionError as error:
        raise DefinitionError(f"the definition is nested deeper than {MAX_NESTING} levels") from error


class _TagParser(Parser):
    def __init__(self, document: Document, fields: FieldCatalogue) -> None:
        super().__init__(document, fields)
        self._otherwise: str | None = None

    def tag(self, name: str | None) -> TagDefinition:
        keys = {"name", "description", "kind", "timezone", *(key for form in _FORMS for key in _KEYS[form])}
        data = self._map((), self._data, keys, "a tag")
        given = data.get("name", name)
        if not (isinstance(given, str) and is_name(given)):
            self._fail(("name",), "a name has 1 to 100 lower-case letters, digits, hyphens and underscores")
        if name and given != name:
            self._fail(("name",), "the tag's name differs from the name it is stored under")
        self._salt = given
        if data.get("kind") not in get_args(TagKind):
            self._fail(("kind",), f"a tag has a kind, one of: {', '.join(get_args(TagKind))}")
        if "timezone" in data:
            self._zone = self._timezone(("timezone",), data["timezone"])
        forms = [form for form in _FORMS if form in data]
        if len(forms) != 1:
            self._fail((), f"a tag has one of the keys {', '.join(_FORMS)}")
        form = cast("Form", forms[0])
        self._map((), data, {"name", "description", "kind", "timezone", *_KEYS[form]}, f"a tag by {form}")
        made = {"cases": self._cases, "amount": self._amount, "ratio": self._divided, "score": self._score}
        return TagDefinition(
            name=given,
            description=self._text(("description",), data.get("description", ""), empty=True),
            kind=data["kind"],
            form=form,
            source={**plain(data), "name": given},
            **made[form](data),
        )

    def _cases(self, data: Mapping[str, Any]) -> dict[str, Any]:
        items = self._items(("cases",), data["cases"])
        if not 1 <= len(items) <= MAX_CASES:
            self._fail(("cases",), f"a tag has 1 to {MAX_CASES} cases")
        cases = []
        for number, item in enumerate(items):
            path = ("cases", number)
            self._map(path, item, {"value", "where"}, "a case")
            for key in ("value", "where"):
                if key not in item:
                    self._fail(path, f"a case needs the key {key}")
            value = self._text((*path, "value"), item["value"])
            cases.append(Case(value, self._node((*path, "where"), item["where"], 1)))
        otherwise = data.get("otherwise")
        if otherwise is not None:
            otherwise = self._text(("otherwise",), otherwise)
        return {"type": "string", "cases": tuple(cases), "otherwise": otherwise}

    def _amount(self, data: Mapping[str, Any]) -> dict[str, Any]:
        event = self._event(("amount",), data["amount"], "an amount", compared=False)
        return {"type": self._type(event), "of": event}

    def _divided(self, data: Mapping[str, Any]) -> dict[str, Any]:
        of, to = self._ratio(("ratio",), data["ratio"])
        return {"type": "number", "of": Ratio(of, to, "exists", True)}

    def _score(self, data: Mapping[str, Any]) -> dict[str, Any]:
        event = self._event(("score",), data["score"], "a score", compared=False)
        if self._type(event) != "number":
            self._fail(("score",), "a score is given to a number")
        if data.get("best", "high") not in {"high", "low"}:
            self._fail(("best",), "best is high or low: which amounts have the highest score")
        into, given = data.get("into"), data.get("thresholds")
        if (into is None) == (given is None):
            self._fail((), "a score has either into, for as many classes of equal size, or thresholds")
        bounds: tuple[float, ...] | None = None
        if given is not None:
            items = self._items(("thresholds",), given)
            places = (("thresholds", number) for number in range(len(items)))
            scalars = (self._scalar(path, item, "number") for path, item in zip(places, items, strict=True))
            bounds = tuple(float(item) for item in scalars)
            into = len(bounds) + 1
            if any(low >= high for low, high in pairwise(bounds)):
                self._fail(("thresholds",), "thresholds ascend")
        if isinstance(into, bool) or not isinstance(into, int) or not 2 <= into <= MAX_CLASSES:
            self._fail(
                ("into" if given is None else "thresholds",), f"a score has 2 to {MAX_CLASSES} classes"
            )
        lowest_best = data.get("best", "high") == "low"
        return {
            "type": "number",
            "of": event,
            "into": into,
            "thresholds": bounds,
            "lowest_best": lowest_best,
        }

    @staticmethod
    def _type(event: Event) -> ValueType:
        return "number" if event.aggregate is None else event.aggregate.type
