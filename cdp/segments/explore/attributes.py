"""attributes: the traits and tags that people may be told apart by, with the values that are worth counting.

Texts: those said most often, of which the portrait shows the most common. Numbers: buckets, whose bounds are
the fifths of what was said, to two digits. Times: years (UTC). Booleans: true and false. Each value is parsed
as a condition of a definition would be, so it finds whom a segment would.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from cdp.clock import Micros, rfc3339
from cdp.errors import DefinitionError, InvalidInputError
from cdp.policy import FieldCatalogue, FieldRule, ValueType
from cdp.segments.compile import valued
from cdp.segments.compile.observed import YEARS, observed, spread, year_begins
from cdp.segments.definition import Node, settled
from cdp.segments.explore.portrait import Attribute, Choice
from cdp.segments.parse import parse
from cdp.segments.reader import suggest
from cdp.segments.references import identifies
from cdp.segments.tags.model import TagDefinition
from cdp.warehouse import Snapshot

_LOOKED_AT = 15  # and whether there is any: as many leaves as one pass has
_FIFTHS = (0.2, 0.4, 0.6, 0.8)


def described(fields: FieldCatalogue, wanted: Collection[str]) -> list[FieldRule]:
    """Return the traits that a portrait may show: clear, no lists, naming nobody; all unless some are wanted.

    :raises InvalidInputError: one that is wanted is none of them.
    """
    found = {
        name: rule
        for name, rule in sorted(fields.traits.items())
        if rule.clear and rule.type != "list" and not identifies(_known(rule, fields), fields)
    }
    for name in wanted:
        if name not in found:
            hint = suggest(name, list(found))
            raise InvalidInputError(
                f"a portrait shows traits that are declared, clear and name nobody; one given is none{hint}"
            )
    return [rule for name, rule in found.items() if not wanted or name in wanted]


def attributes(
    rules: Collection[FieldRule], fields: FieldCatalogue, snapshot: Snapshot, now: Micros
) -> tuple[Attribute, ...]:
    """Return traits with the values that are worth counting; ``snapshot`` tells what was said."""
    names = {
        kind: [rule.name for rule in rules if rule.type == kind] for kind in ("string", "time", "number")
    }
    said: dict[str, list[Any]] = {}
    if names["string"]:
        said |= observed(snapshot, "string", names["string"], _LOOKED_AT, now)
    if names["time"]:
        said |= observed(snapshot, "time", names["time"], _LOOKED_AT, now)
    if names["number"]:
        said |= spread(snapshot, names["number"], _FIFTHS, now)
    return tuple(
        Attribute(
            kind="trait",
            name=rule.name,
            known=_known(rule, fields),
            choices=tuple(_choices({"trait": rule.name}, rule.type, said.get(rule.name, []), fields)),
            ranked=rule.type in {"string", "time"},
            several=rule.survivorship == "union",
        )
        for rule in rules
    )


def tagged(tag: TagDefinition, fields: FieldCatalogue, snapshot: Snapshot, now: Micros) -> Attribute:
    """Return a computed tag with the values that are worth counting: all that cases or scores can have."""
    subject, kind = {"tag": tag.name}, tag.type
    said: list[Any] = []
    if tag.of is None:
        values = [*(case.value for case in tag.cases), tag.otherwise]
        said = list(dict.fromkeys(value for value in values if value is not None))
    elif tag.form == "score":
        said, kind = list(range(1, tag.into + 1)), "string"  # each class by itself
    else:
        amounts = valued(settled(tag.of, now), snapshot, now)["amount"].tolist()
        said = _worth(kind, amounts)
    return Attribute(
        kind="tag",
        name=tag.name,
        known=_parsed({**subject, "op": "exists"}, fields),
        choices=tuple(_choices(subject, kind, said, fields)),
        ranked=tag.form == "amount" and kind in {"string", "time"},
    )


def _worth(kind: ValueType, amounts: list[Any]) -> list[Any]:
    """Return which of the amounts of everybody are worth counting, as ``observed`` and ``spread`` do."""
    if kind == "number":
        return np.quantile(amounts, _FIFTHS).tolist() if amounts else []
    if kind == "time":
        amounts = [year for at in amounts if (year := int(rfc3339(at)[:4])) in YEARS]
    often = sorted(Counter(amounts).items(), key=lambda item: (-item[1], item[0]))
    return [value for value, _ in often[:_LOOKED_AT]]


def _choices(
    subject: Mapping[str, str], kind: ValueType, said: list[Any], fields: FieldCatalogue
) -> list[Choice]:
    """Return the values of a trait or tag.

    :param subject: the key and name that a condition on it begins with.
    """
    if kind == "number":
        bounds = sorted({_plain(bound) for bound in said})
        spans = list(pairwise([None, *bounds, None])) if bounds else []
        return [Choice(_named(low, high), _between(subject, low, high, fields)) for low, high in spans]
    if kind == "time":
        return [
            Choice(
                {"year": year},
                _between(subject, rfc3339(year_begins(year)), rfc3339(year_begins(year + 1)), fields),
            )
            for year in said
        ]
    found = []
    for value in [True, False] if kind == "boolean" else said:
        try:
            where = _parsed({**subject, "op": "eq", "value": value}, fields)
        except DefinitionError:
            continue  # no definition can say it (more than 1,000 characters), so it is among the others
        found.append(Choice({"value": value}, where))
    return found


def _between(subject: Mapping[str, str], low: Any, high: Any, fields: FieldCatalogue) -> Node:
    """Return the condition of a value from ``low``, included, to ``high``, not; None is no bound."""
    bounds = [("gte", low), ("lt", high)]
    parts = [{**subject, "op": op, "value": value} for op, value in bounds if value is not None]
    return _parsed(parts[0] if len(parts) == 1 else {"all": parts}, fields)


def _known(rule: FieldRule, fields: FieldCatalogue) -> Any:
    return _parsed({"trait": rule.name, "op": "exists"}, fields)


def _parsed(where: Mapping[str, Any], fields: FieldCatalogue) -> Node:
    return parse({"where": where}, fields, "").where


def _plain(bound: float) -> float:
    """Round to two digits: a bound is the number of somebody."""
    return float(f"{bound:.1e}")


def _named(low: float | None, high: float | None) -> dict[str, float]:
    return {key: bound for key, bound in (("from", low), ("to", high)) if bound is not None}
