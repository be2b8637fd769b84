"""edges: which facts a leaf starts or ceases to count as time passes. Pure.

Between two instants only events and observations near the far edge of a window change what a leaf finds, and
events that were later than now (``compile.ahead``); whoever has none there is found, or not, as before. What
is returned may cover more than that, never less.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import NamedTuple, cast

from cdp.clock import DAY, Micros
from cdp.segments.definition import (
    AGE,
    Asked,
    Condition,
    Event,
    Ratio,
    Sample,
    Sequence,
    Trait,
    Value,
    bounds,
)
from cdp.warehouse import Scan

Span = tuple[Micros, Micros]
"""Both ends included."""


class Facts(NamedTuple):
    """Events of a name and type, or observations of a trait.

    :param type: empty for a trait.
    """

    name: str
    type: str


def edges(leaves: Iterable[Asked], before: Micros, now: Micros) -> dict[Facts, list[Span]]:
    """Return where the facts lie that leaves count at one of two instants and not at the other.

    Without events that are later than the first and not than the second.
    """
    found: dict[Facts, list[Span]] = {}
    for leaf in leaves:
        for facts, span in _edges(leaf, before, now):
            found.setdefault(facts, []).append(span)
    return {facts: _united(spans) for facts, spans in found.items()}


def oldest(leaves: Iterable[Asked], now: Micros) -> Micros | None:
    """Return the instant before which no event counts for any of the leaves; None where there is none."""
    found = now
    parts = ((leaf.of, leaf.to) if isinstance(leaf, Ratio) else (leaf,) for leaf in leaves)
    for leaf in chain.from_iterable(parts):
        if isinstance(leaf, Trait | Sample):
            continue
        start = bounds(leaf, now)[0] if isinstance(leaf, Event) else None
        if leaf.within is not None:
            start = now - leaf.within
        if start is None:
            return None
        found = min(found, start)
    return found


def scan(leaves: Collection[Asked], now: Micros) -> Scan | None:
    """Return which events leaves are about; None where they are about none."""
    names = frozenset(name for leaf in leaves for name in event_names(leaf))
    return Scan(names, oldest(leaves, now)) if names else None


def event_names(leaf: Asked) -> Iterator[str]:
    """Yield the names of the events that a leaf is about."""
    if isinstance(leaf, Event):
        yield leaf.name
    elif isinstance(leaf, Ratio):
        yield from (leaf.of.name, leaf.to.name)
    elif isinstance(leaf, Sequence):
        yield from (step.name for step in leaf.steps)


_Edges = Iterator[tuple[Facts, Span]]


def _edges(leaf: Asked, before: Micros, now: Micros) -> _Edges:
    if isinstance(leaf, Event):
        return _of_event(leaf, before, now)
    if isinstance(leaf, Ratio):
        return chain(_of_event(leaf.of, before, now), _of_event(leaf.to, before, now))
    if isinstance(leaf, Sequence):
        return _of_sequence(leaf, before, now)
    return _of_trait(leaf, before, now) if isinstance(leaf, Trait) else iter(())


def _of_event(leaf: Event, before: Micros, now: Micros) -> _Edges:
    facts = Facts(leaf.name, leaf.type)
    if leaf.within is not None:
        yield facts, (before - leaf.within, now - leaf.within)
        if now < before:
            yield facts, (now, before)
    ages = _ages(leaf.where)
    if leaf.aggregate is not None and leaf.aggregate.property == AGE:
        ages |= _lags(leaf.aggregate.value)
    yield from ((facts, _aged(age, before, now)) for age in sorted(ages))
    for then, here in zip(bounds(leaf, before), bounds(leaf, now), strict=True):
        if then is not None and here is not None and then != here:
            yield facts, (then, here)


def _of_sequence(leaf: Sequence, before: Micros, now: Micros) -> _Edges:
    lags = {step.within for step in leaf.steps if step.negated and step.within is not None}
    if now < before:
        lags.add(0)
    if leaf.within is not None:
        lags.add(leaf.within)
    for step in leaf.steps:
        facts = Facts(step.name, step.type)
        yield from ((facts, _aged(age, before, now)) for age in sorted(lags | _ages(step.where)))


def lag(age: Value) -> Micros:
    """Return how far back from now the events of an age in days lie."""
    return round(cast("float", age) * DAY)


def _ages(conditions: Iterable[Condition]) -> set[Micros]:
    return {found for item in conditions if item.property == AGE for found in _lags(item.value)}


def _lags(value: Value) -> set[Micros]:
    return {lag(age) for age in (value if isinstance(value, tuple) else (value,))}


def _aged(age: Micros, before: Micros, now: Micros) -> Span:
    return before - age, now - age


def _of_trait(leaf: Trait, before: Micros, now: Micros) -> _Edges:
    then, today = before // DAY * DAY, now // DAY * DAY
    for name, expires in ((leaf.name, leaf.expires), (leaf.validated_by, leaf.flag_expires)):
        if name and expires is not None and then != today:
            yield Facts(name, ""), (then - expires * DAY, today - expires * DAY)


def _united(spans: Iterable[Span]) -> list[Span]:
    """Return spans that cover the same, in order, none of which touch."""
    united: list[Span] = []
    for low, high in sorted((min(span), max(span)) for span in spans):
        if united and low <= united[-1][1]:
            united[-1] = (united[-1][0], max(high, united[-1][1]))
        else:
            united.append((low, high))
    return united
