"""Why one person is decided about as they are: pure.

Every rule that bears on the question is listed with its truth in each of the person's jurisdictions and
with the condition that settled it; each field with the words that met in its transform. The outcome is read
off that list, in the order of the steps of ``decide.py``, and a property test proves that it is the one of
``decide`` and of ``compile_sets``: what is shown is why, not a story beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from cdp.gate.decide import PERMITTED, enables, jurisdictions, meet, restrains, unmet
from cdp.gate.model import (
    CLEAR,
    RESTRAINTS,
    Clause,
    Condition,
    Decision,
    Facts,
    FieldPlan,
    Terms,
    Truth,
)
from cdp.policy import Transform

Effect = Literal["permit", "forbid", "limit"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule says in one jurisdiction.

    :param conditions: each condition with what is known of it, as a rule of this effect reads it.
    :param decided_by: the first condition as low as the whole; None where the rule asks for nothing.
    """

    truth: Truth
    conditions: tuple[tuple[Condition, Truth], ...] = ()
    decided_by: Condition | None = None


class RuleFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One rule over the person.

    :param where: jurisdiction of the person → verdict; one that is absent is not covered by the rule.
    :param inputs: those of the definition's categories that it lists.
    :param plan: its word on each field.
    """

    rule: str
    effect: Effect
    where: Mapping[str, Verdict]
    inputs: frozenset[str]
    plan: FieldPlan

    def truth_in(self, place: str) -> Truth | None:
        """Return the rule's truth in a jurisdiction; None where it does not reach."""
        verdict = self.where.get(place)
        return None if verdict is None else verdict.truth

    @property
    def has_a_word(self) -> bool:
        """True when it is TRUE or UNKNOWN somewhere: it then takes part in the fields."""
        return any(verdict.truth is not Truth.FALSE for verdict in self.where.values())


class FieldFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One field: the transform, and the rules whose words met in it."""

    name: str
    category: str
    transform: Transform
    words: tuple[tuple[str, Transform], ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why somebody is decided about as they are.

    :param places: the person's jurisdictions, sorted.
    :param restraints: those that hold, in the order in which they are the reason.
    :param ungranted: jurisdictions without a permit that is TRUE there.
    :param unlisted: jurisdiction → categories that the definition reads and no TRUE permit lists.
    :param fields: empty when no row leaves.
    """

    decision: Decision
    places: tuple[str, ...]
    restraints: tuple[str, ...]
    rules: tuple[RuleFinding, ...]
    ungranted: tuple[str, ...]
    unlisted: Mapping[str, tuple[str, ...]]
    fields: tuple[FieldFinding, ...]


def condition_word(condition: Condition) -> str:
    """Return a condition as text: ``consent``, ``consent_age<=730d``, ``not notice_current``."""
    word = f"{condition.kind}<={condition.days}d" if condition.days else condition.kind
    return word if condition.wanted else f"not {word}"


def explain(terms: Terms, facts: Facts) -> Explanation:
    """Explain the decision about one person."""
    here = tuple(sorted(jurisdictions(terms, facts)))
    restraints = tuple(name for name in RESTRAINTS if name in facts.restraints)
    groups: tuple[tuple[Effect, tuple[Clause, ...]], ...] = (
        ("permit", terms.permits),
        ("forbid", terms.forbids),
        ("limit", terms.limits),
    )
    rules = tuple(_finding(effect, clause, facts, here) for effect, held in groups for clause in held)
    permits = [rule for rule in rules if rule.effect == "permit"]
    granting = {place: [p for p in permits if p.truth_in(place) is Truth.TRUE] for place in here}
    ungranted = tuple(place for place in here if not granting[place])
    unlisted = {}
    for place in here:
        listed = frozenset[str]().union(*(permit.inputs for permit in granting[place]))
        if missing := terms.inputs - listed:
            unlisted[place] = tuple(sorted(missing))
    reason = _reason(terms, facts, restraints, rules, ungranted, unlisted)
    fields = _fields(terms, rules) if reason == PERMITTED else ()
    return Explanation(
        decision=Decision(
            allowed=reason == PERMITTED, reason=reason, plan=tuple(found.transform for found in fields)
        ),
        places=here,
        restraints=restraints,
        rules=rules,
        ungranted=ungranted,
        unlisted=unlisted,
        fields=fields,
    )


def _finding(effect: Effect, clause: Clause, facts: Facts, here: Sequence[str]) -> RuleFinding:
    read = enables if effect == "permit" else restrains
    where = {}
    for place in here:
        if place not in clause.where:
            continue
        conditions = tuple((needed, read(facts, (needed,))) for needed in clause.where[place])
        truth = min((known for _, known in conditions), key=_order, default=Truth.TRUE)
        decided_by = next((needed for needed, known in conditions if known is truth), None)
        where[place] = Verdict(truth=truth, conditions=conditions, decided_by=decided_by)
    return RuleFinding(rule=clause.rule, effect=effect, where=where, inputs=clause.inputs, plan=clause.plan)


def _reason(
    terms: Terms,
    facts: Facts,
    restraints: Sequence[str],
    rules: Iterable[RuleFinding],
    ungranted: Sequence[str],
    unlisted: Mapping[str, tuple[str, ...]],
) -> str:
    if restraints:  # 1
        return restraints[0]
    if any(rule.effect == "forbid" and rule.has_a_word for rule in rules):  # 2
        return "forbidden"
    if ungranted:  # 3
        return _ungranted_reason(terms, facts, [r for r in rules if r.effect == "permit"], ungranted)
    return "input_not_permitted" if unlisted else PERMITTED  # 4


def _ungranted_reason(
    terms: Terms, facts: Facts, permits: Sequence[RuleFinding], ungranted: Sequence[str]
) -> str:
    if any(all(place not in permit.where for permit in permits) for place in ungranted):
        return "jurisdiction_unknown" if facts.places is None else "not_permitted"
    failing = {
        condition
        for permit in permits
        for place in ungranted
        if place in permit.where
        for condition, truth in permit.where[place].conditions
        if truth is not Truth.TRUE
    }
    first = next((condition for condition in terms.conditions() if condition in failing), None)
    return "not_permitted" if first is None else unmet(first, stale=facts.stale)


def _fields(terms: Terms, rules: Iterable[RuleFinding]) -> tuple[FieldFinding, ...]:
    speaking = [rule for rule in rules if rule.effect != "forbid" and rule.has_a_word]  # 5
    found = []
    for place, name in enumerate(terms.fields):
        transform = CLEAR
        words = []
        for rule in speaking:
            word = rule.plan[place]
            transform = meet(transform, word)
            if rule.effect == "permit" or word != CLEAR:  # a limit's silence is no word
                words.append((rule.rule, word))
        category = terms.categories[place] if terms.categories else ""
        found.append(FieldFinding(name=name, category=category, transform=transform, words=tuple(words)))
    return tuple(found)


def _order(truth: Truth) -> int:
    return truth.value
