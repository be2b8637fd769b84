"""The decision about one person: pure, three-valued, default deny.

The order of the steps (privacy.md, "Policies", decision 1-4), which ``compile.py`` repeats over sets:

1. A restraint denies.
2. A forbid that is TRUE or UNKNOWN in any of the person's jurisdictions denies.
3. Every jurisdiction of the person needs a permit that is TRUE there.
4. Every category that the segment's definition reads must be listed, in every jurisdiction, by a
   permit that is TRUE there.
5. The plan of the fields is the meet over all permits TRUE or UNKNOWN and all limits not FALSE.

Invariant (property 6): taking an enabling fact away, adding a restraint, or turning a known value
to UNKNOWN never adds a row and never reveals a field. It is why a condition for the *absence* of
something, and one that a restraining fact disables, never make a permit FALSE: a FALSE permit
leaves the meet, and its leaving could reveal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

from cdp.gate.model import (
    CLEAR,
    DROP,
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

PERMITTED = "permitted"
_UNMET = {
    "consent_age": "stale",
    "separate_consent": "no_separate_consent",
    "double_opt_in": "consent_not_confirmed",
    "notice_given": "notice_not_given",
    "notice_current": "notice_not_current",
    "not_minor": "minor",
    "place_known": "jurisdiction_unknown",
}


def meet(one: Transform, other: Transform) -> Transform:
    """Return the greatest transform below both: ``clear`` on top, ``drop`` at the bottom.

    The four between are incomparable, also one kind at two levels, so two that differ meet in drop.
    """
    if other in (one, CLEAR):
        return one
    return other if one == CLEAR else DROP


def meet_plans(plans: Iterable[FieldPlan], width: int) -> FieldPlan:
    """Return the meet of ``plans``, field by field; of no plan at all: ``clear`` for each."""
    return reduce(lambda one, other: tuple(map(meet, one, other)), plans, (CLEAR,) * width)


def offered(terms: Terms) -> tuple[frozenset[Transform], ...]:
    """Return, for each field, what ``decide`` could make of it, whoever the person is.

    Every meet of words of step 5, of which one at least is a permit's; what binds everybody is in each. It
    may name what no person there could be gets, and never misses what one gets.
    """
    permits = [permit for permit in terms.permits if permit.where]
    found = []
    for place in range(len(terms.fields)):
        words: frozenset[Transform] = frozenset()
        for permit in permits:
            word = permit.plan[place]
            words |= {word} | {meet(word, other) for other in words}
        for clause in (*permits, *terms.limits):
            met = frozenset(meet(clause.plan[place], other) for other in words)
            always = all(clause.where.get(one) == () for one in terms.everywhere)
            words = met if always else met | words
        found.append(words or frozenset({DROP}))
    return tuple(found)


def negate(truth: Truth) -> Truth:
    """Return NOT; UNKNOWN stays."""
    return {Truth.TRUE: Truth.FALSE, Truth.FALSE: Truth.TRUE}.get(truth, Truth.UNKNOWN)


def enables(facts: Facts, conditions: Sequence[Condition]) -> Truth:
    """Return whether ``conditions`` hold, as a permit may count on them.

    A requirement that something be absent is UNKNOWN at best: what is missing never allows.
    """
    truths = [_known(facts, condition) if condition.wanted else Truth.UNKNOWN for condition in conditions]
    return min(truths, key=lambda truth: truth.value, default=Truth.TRUE)


def restrains(facts: Facts, conditions: Sequence[Condition]) -> Truth:
    """Return whether ``conditions`` hold, as a forbid or limit reads them.

    A condition whose enabling fact is FALSE could become so by losing that fact, so it is UNKNOWN
    here; only the absence of something is FALSE, when the thing is known to be there.
    """
    truths = []
    for condition in conditions:
        truth = _known(facts, Condition(condition.kind, condition.days))
        if condition.wanted:
            truths.append(Truth.TRUE if truth is Truth.TRUE else Truth.UNKNOWN)
        else:
            truths.append(negate(truth))
    return min(truths, key=lambda truth: truth.value, default=Truth.TRUE)


def _known(facts: Facts, condition: Condition) -> Truth:
    if condition.kind == "place_known":
        return Truth.UNKNOWN if facts.places is None else Truth.TRUE
    return facts.known.get(condition, Truth.UNKNOWN)


def jurisdictions(terms: Terms, facts: Facts) -> frozenset[str]:
    """Return where the person falls under: the controller's and every recorded place, else all."""
    return terms.everywhere if facts.places is None else terms.home | facts.places


def decide(terms: Terms, facts: Facts) -> Decision:
    """Decide about one person."""
    here = sorted(jurisdictions(terms, facts))
    for restraint in RESTRAINTS:  # 1
        if restraint in facts.restraints:
            return Decision(allowed=False, reason=restraint)
    if any(_restrains_in(clause, facts, here) for clause in terms.forbids):  # 2
        return Decision(allowed=False, reason="forbidden")
    granting = {
        place: [
            permit
            for permit in terms.permits
            if place in permit.where and enables(facts, permit.where[place]) is Truth.TRUE
        ]
        for place in here
    }
    missing = [place for place in here if not granting[place]]
    if missing:  # 3
        return Decision(allowed=False, reason=_reason(terms, facts, missing))
    for place in here:  # 4
        listed = frozenset[str]().union(*(permit.inputs for permit in granting[place]))
        if not terms.inputs <= listed:
            return Decision(allowed=False, reason="input_not_permitted")
    plans = [  # 5
        permit.plan
        for permit in terms.permits
        if any(enables(facts, permit.where[p]) is not Truth.FALSE for p in here if p in permit.where)
    ]
    plans += [limit.plan for limit in terms.limits if _restrains_in(limit, facts, here)]
    return Decision(allowed=True, reason=PERMITTED, plan=meet_plans(plans, len(terms.fields)))


def _restrains_in(clause: Clause, facts: Facts, here: Iterable[str]) -> bool:
    return any(
        restrains(facts, clause.where[place]) is not Truth.FALSE for place in here if place in clause.where
    )


def _reason(terms: Terms, facts: Facts, missing: Sequence[str]) -> str:
    """Return why no permit is TRUE in the ``missing`` jurisdictions.

    First a jurisdiction that no permit covers at all: nothing the person says would help there.
    """
    for place in missing:
        if not any(place in permit.where for permit in terms.permits):
            return "jurisdiction_unknown" if facts.places is None else "not_permitted"
    for condition in terms.conditions():
        needed = any(
            condition in permit.where.get(place, ()) for permit in terms.permits for place in missing
        )
        if needed and enables(facts, (condition,)) is not Truth.TRUE:
            return unmet(condition, stale=facts.stale)
    return "not_permitted"


def unmet(condition: Condition, *, stale: bool) -> str:
    """Return the reason code for a condition that is not TRUE."""
    if condition.kind == "consent":
        return "stale" if stale else "no_consent"
    return _UNMET.get(condition.kind, "not_permitted")
