"""why: each condition of a definition for one person: whether it holds, and the events that decide it.

The person's facts are read from the store (``Focus``) and asked by the same queries that find members, so
that the reasons cannot differ from the segment. What is returned holds clear, declared values only; who may
see which of them is for the caller to ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import msgspec
from pyroaring import BitMap

from cdp.clock import Clock, Micros
from cdp.segments import queries
from cdp.segments.compile import deciding, valued
from cdp.segments.definition import (
    All,
    Any_,
    Asked,
    Event,
    ListOf,
    Node,
    Not,
    Ratio,
    Sequence,
    Used,
    settled,
)
from cdp.segments.definitions import Definitions, Question, newest_of
from cdp.segments.evaluate import Evaluator, Told
from cdp.store import Connection, read_head
from cdp.warehouse import Focus, Warehouse, focus

_KINDS = ("all", "any", "not", "trait", "event", "sequence", "ratio", "tag", "segment", "list", "sample")


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """An event that fits a condition.

    :param read: the properties that the condition looks at, those that the event has.
    """

    type: str
    name: str
    occurred_at: Micros
    read: dict[str, Any]

    def __repr__(self) -> str:
        return f"<event {self.type}>"


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One condition for one person.

    :param condition: as the definition has it, without the conditions in it.
    :param matched: of an event: how many fit it; ``amount`` what they amount to.
    :param steps: of a sequence: whether each step that happens was reached.
    :param events: the newest of those that fit.
    :param parts: the conditions in it; of a segment, that segment's.
    """

    kind: str
    condition: dict[str, Any]
    holds: bool
    matched: int | None = None
    amount: Any = None
    steps: tuple[bool, ...] = ()
    events: tuple[Happening, ...] = ()
    parts: tuple[Reason, ...] = ()

    def __repr__(self) -> str:
        return f"<reason {self.kind}>"


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why somebody is in a segment, or is not.

    :param restrained: nobody finds them, whatever the definition says: they are restrained.
    :param as_of: every fact up to this commit was looked at.
    """

    segment: str
    version: int
    member: bool
    restrained: bool
    as_of: int
    evaluated_at: Micros
    categories: frozenset[str]
    reason: Reason


class Explainer:
    """Explains memberships."""

    def __init__(
        self, warehouse: Warehouse, definitions: Definitions, evaluator: Evaluator, clock: Clock
    ) -> None:
        self._warehouse = warehouse
        self._definitions = definitions
        self._evaluator = evaluator
        self._clock = clock

    def __call__(self, connection: Connection, name: str, profile_no: int) -> Why:
        """Return why a profile is in a segment, or is not.

        :raises NotFoundError: there is no such segment.
        :raises DefinitionError: it no longer holds.
        """
        newest, now = newest_of(connection, name), self._clock.now()
        question = self._definitions.question(connection, self._definitions.parsed(newest))
        declared = self._warehouse.snapshot().tables.declared
        with closing(focus(connection, BitMap([profile_no]), declared, self._warehouse.trust)) as facts:
            told = self._evaluator.tell(facts, question.asked, now)
            listed = {
                leaf.name: bool(facts.numbers & queries.list_identities(connection, leaf.name))
                for leaf in question.leaves
                if isinstance(leaf, ListOf)
            }
            one = _One(question, told, listed, facts, now)
            reason = one.reason(question.definition.where, question.definition.source["where"])
        restrained = profile_no in self._evaluator.restrained(connection)
        return Why(
            segment=name,
            version=newest.version,
            member=reason.holds and not restrained,
            restrained=restrained,
            as_of=read_head(connection)[0],
            evaluated_at=now,
            categories=question.categories,
            reason=reason,
        )


class _One:
    """One person's answers to one question.

    :param listed: list → whether the person stands on it.
    """

    def __init__(
        self,
        question: Question,
        told: Mapping[Asked, Told],
        listed: Mapping[str, bool],
        facts: Focus,
        now: Micros,
    ) -> None:
        self._question = question
        self._told = told
        self._listed = listed
        self._facts = facts
        self._now = now

    def reason(self, node: Node, source: Mapping[str, Any]) -> Reason:
        """Return the reason of a condition, given as the definition has it, too."""
        kind = next(key for key in _KINDS if key in source)
        if isinstance(node, All | Any_ | Not):
            inner = [node.part] if isinstance(node, Not) else node.parts
            given = [source["not"]] if isinstance(node, Not) else source[kind]
            parts = tuple(self.reason(part, data) for part, data in zip(inner, given, strict=True))
            held = [part.holds for part in parts]
            holds = (
                not held[0] if isinstance(node, Not) else all(held) if isinstance(node, All) else any(held)
            )
            return Reason(kind=kind, condition={}, holds=holds, parts=parts)
        condition = dict(source)
        if isinstance(node, Used):
            used = self._question.used[node]
            part = self.reason(used.where, used.source["where"])
            return Reason(kind=kind, condition=condition, holds=part.holds, parts=(part,))
        if isinstance(node, ListOf):
            return Reason(kind=kind, condition=condition, holds=self._listed[node.name])
        profiles, rest = self._told[node]
        holds = bool(profiles) != rest
        leaf = settled(node, self._now)
        reason = Reason(kind=kind, condition=condition, holds=holds)
        if isinstance(leaf, Ratio):
            return self._of_ratio(leaf, reason)
        return self._of_events(leaf, reason) if isinstance(leaf, Event | Sequence) else reason

    def _of_ratio(self, leaf: Ratio, reason: Reason) -> Reason:
        """Return a ratio with its two sides, each of which holds when there is an event."""
        parts = tuple(
            self._of_events(
                side, Reason(kind="event", condition=dict(reason.condition["ratio"][key]), holds=False)
            )
            for key, side in (("of", leaf.of), ("to", leaf.to))
        )
        found = _rows(valued(leaf, self._facts, self._now))
        return msgspec.structs.replace(
            reason,
            amount=found[0]["amount"] if found else None,
            parts=tuple(msgspec.structs.replace(part, holds=bool(part.matched)) for part in parts),
        )

    def _of_events(self, leaf: Event | Sequence, reason: Reason) -> Reason:
        rows, summed, names = deciding(leaf, self._facts.tables)
        found = _rows(self._facts.run(rows, self._now))
        total = next(iter(_rows(self._facts.run(summed, self._now))), {"matched": 0, "amount": None})
        events = tuple(
            Happening(
                type=row["type"],
                name=row["name"],
                occurred_at=int(row["occurred_at"]),
                read={
                    name: value
                    for place, name in enumerate(names)
                    if (value := row[f"read_{place}"]) is not None
                },
            )
            for row in found
        )
        steps = tuple(bool(held) for key, held in total.items() if key.startswith("reached_"))
        matched, amount = (total["matched"], total["amount"]) if isinstance(leaf, Event) else (None, None)
        return msgspec.structs.replace(reason, events=events, steps=steps, matched=matched, amount=amount)


def _rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return rows of plain values; what is NULL is None."""
    listed = {name: column.tolist() for name, column in columns.items()}  # a masked value becomes None
    return [dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)]
