"""expand: a condition on a tag → the definition that it stands for. Pure.

Invariants: whoever has the tag's value is whom the definition finds, so a tag is nothing that could be older
than what it is found from; each case stands in it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from cdp.errors import DefinitionError
from cdp.policy import FieldCatalogue
from cdp.segments.definition import COUNTS, Definition, Event, TagOf
from cdp.segments.parse import parse_checked
from cdp.segments.reader import OPERATORS, suggest
from cdp.segments.tags.model import TagDefinition

_EVERYONE: dict[str, Any] = {"sample": 1}
_NOBODY: dict[str, Any] = {"not": _EVERYONE}
_TAKES = {"in": "a list of values", "between": "a list of two values, both included"}
_Where = dict[str, Any]


def expand(
    tag: TagDefinition, thresholds: Sequence[float] | None, leaf: TagOf, fields: FieldCatalogue
) -> Definition:
    """Return what ``leaf`` stands for.

    :param thresholds: of a score.
    :raises DefinitionError: the tag has no such values, or no thresholds yet.
    """
    if leaf.op not in OPERATORS[tag.type]:
        raise DefinitionError(
            f"where: the tag {tag.name} is a {tag.type}, compared by one of: {', '.join(OPERATORS[tag.type])}"
        )
    several = {
        "in": isinstance(leaf.value, tuple),
        "between": isinstance(leaf.value, tuple) and len(leaf.value) == 2,
    }
    if not several.get(leaf.op, not isinstance(leaf.value, tuple)):
        raise DefinitionError(f"where: {leaf.op} takes {_TAKES.get(leaf.op, 'one value')}")
    if leaf.op == "exists" and not isinstance(leaf.value, bool):
        raise DefinitionError("where: exists takes true or false")
    made = {"cases": _of_cases, "amount": _of_amount, "ratio": _of_ratio}
    where = _of_score(tag, thresholds, leaf) if tag.form == "score" else made[tag.form](tag, leaf)
    source: _Where = {"name": tag.name, "where": where}
    if "timezone" in tag.source:
        source["timezone"] = tag.source["timezone"]
    try:
        return parse_checked(source, fields)
    except DefinitionError as error:
        raise DefinitionError(f"where: the tag {tag.name} cannot be compared so: {error.message}") from error


def _of_cases(tag: TagDefinition, leaf: TagOf) -> _Where:
    values = [case.value for case in tag.cases]
    everything = values if tag.otherwise is None else [*values, tag.otherwise]
    wanted = leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
    for value in wanted if leaf.op in {"eq", "ne", "in"} else ():
        if value not in everything:
            told = ", ".join(dict.fromkeys(everything))
            raise DefinitionError(
                f"where: the tag {tag.name} has the values {told}, and not what it is compared with"
                f"{suggest(value, everything)}"
            )
    chosen = [_fits(value, leaf) for value in values]
    found = _EVERYONE if _fits(tag.otherwise, leaf) else _NOBODY
    cases = list(zip(chosen, (case["where"] for case in tag.source["cases"]), strict=True))
    for fits, run in groupby(reversed(cases), key=lambda case: case[0]):
        wheres = [where for _, where in run][::-1]
        if fits and found is not _EVERYONE:
            found = {"any": wheres if found is _NOBODY else [*wheres, found]}
        elif not fits and found is not _NOBODY:
            others: list[_Where] = [{"not": where} for where in wheres]
            found = {"all": others if found is _EVERYONE else [*others, found]}
    return found


def _fits(value: str | None, leaf: TagOf) -> bool:
    """Return whether a value is one that the leaf asks for; of none only its absence is."""
    if leaf.op == "exists":
        return (value is not None) is leaf.value
    if value is None:
        return False
    asked = leaf.value
    if leaf.op == "in":
        return isinstance(asked, tuple) and value in asked
    if leaf.op in {"eq", "ne"}:
        return (value == asked) is (leaf.op == "eq")
    return isinstance(asked, str) and (asked in value if leaf.op == "contains" else value.startswith(asked))


def _of_amount(tag: TagDefinition, leaf: TagOf) -> _Where:
    return _compared(tag.source["amount"], tag.of, {leaf.op: _plain(leaf)})


def _of_ratio(tag: TagDefinition, leaf: TagOf) -> _Where:
    return {"ratio": tag.source["ratio"], leaf.op: _plain(leaf)}


def _of_score(tag: TagDefinition, thresholds: Sequence[float] | None, leaf: TagOf) -> _Where:
    if thresholds is None:
        raise DefinitionError(f"where: the tag {tag.name} has no thresholds yet; rebuild it")
    event, last = tag.source["score"], len(thresholds)
    known = _known(event, tag.of)
    if leaf.op == "exists":
        return known if leaf.value else {"not": known}
    asked = [
        _score_fits(last + 1 - place if tag.lowest_best else place + 1, leaf) for place in range(last + 1)
    ]
    parts: list[_Where] = []
    for fits, run in groupby(range(last + 1), key=asked.__getitem__):
        classes = list(run)
        if not fits:
            continue
        between = [known]
        if classes[0] > 0:
            between.append(_compared(event, tag.of, {"gt": thresholds[classes[0] - 1]}))
        if classes[-1] < last:
            between.append(_compared(event, tag.of, {"lte": thresholds[classes[-1]]}))
        parts.append({"all": between})
    return {"any": parts} if parts else _NOBODY


def _score_fits(score: int, leaf: TagOf) -> bool:
    asked = leaf.value
    if isinstance(asked, tuple):
        if leaf.op == "in":
            return score in asked
        return _number(asked[0]) <= score <= _number(asked[1])
    number = _number(asked)
    if leaf.op in {"eq", "ne"}:
        return (score == number) is (leaf.op == "eq")
    if leaf.op in {"lt", "lte"}:
        return score < number or (score == number and leaf.op == "lte")
    return score > number or (score == number and leaf.op == "gte")


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DefinitionError("where: a score is compared with a number")
    return float(value)


def _known(event: _Where, of: object) -> _Where:
    """Return the condition that an amount is known."""
    assert isinstance(of, Event)  # noqa: S101  # a score is of events
    function = of.aggregate.function if of.aggregate is not None else "count"
    if function in COUNTS:
        return {key: value for key, value in event.items() if key != function}
    return _compared(event, of, {"exists": True})


def _compared(event: _Where, of: object, comparison: _Where) -> _Where:
    """Return an amount of events with a comparison."""
    assert isinstance(of, Event)  # noqa: S101  # amounts and scores are
    function = of.aggregate.function if of.aggregate is not None else "count"
    if function in COUNTS and "exists" in comparison:
        return _EVERYONE if comparison["exists"] else _NOBODY  # it is 0 of nothing
    return {**event, function: {**event.get(function, {}), **comparison}}


def _plain(leaf: TagOf) -> Any:
    return list(leaf.value) if isinstance(leaf.value, tuple) else leaf.value
