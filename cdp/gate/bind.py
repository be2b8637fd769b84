"""Binding a bundle to one question: all that can be settled before a person is looked at.

Pure. Matching, and why it errs on the side of the person:

- A permit counts for exactly its purpose; a forbid or limit also for every purpose below its own.
- A permit must cover all channels of the purpose; a forbid or limit needs to touch one.
- A forbid or limit with ``inputs`` bears only on requests that read or name one of them: a list of
  people chosen by an illness tells the illness.
- A permit counts in a jurisdiction only on the legal basis that the purpose has there. Consent may
  stand in for an opt-out basis, as it asks for more; nothing stands in for consent.
- ``*`` under ``fields`` is a rule's word on every field it does not name; it never covers inputs.
- A permit speaks of what is sensitive by name only (``policy.word``); forbids and limits reach down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cdp.errors import InvalidInputError
from cdp.gate.model import CLEAR, DROP, Clause, Condition, FieldPlan, Terms
from cdp.policy import (
    Basis,
    Bundle,
    Destination,
    Purpose,
    Require,
    Rule,
    aims_at,
    covers,
    touches,
    unreadable,
    word,
)
from cdp.segments import check_readable, classified

_BASIS_CONDITIONS: dict[str, tuple[Condition, ...]] = {
    "consent": (Condition("consent"),),
    "opt_out": (Condition("place_known"), Condition("notice_given")),
}


def bind(
    bundle: Bundle,
    destination: Destination,
    purpose: Purpose,
    inputs: frozenset[str],
    fields: Sequence[str] | None,
) -> Terms:
    """Return the terms under which data may go to ``destination`` for ``purpose``.

    :param inputs: every category that the segment's definition reads.
    :param fields: names of traits or identifier types; None for those that the permits name.
    :raises InvalidInputError: a requested field is not declared.
    """
    rules = [rule for rule in bundle.rules if _bears_on(rule, destination, purpose)]
    permits = [rule for rule in rules if rule.effect == "permit"]
    names = _named_fields(bundle, permits) if fields is None else tuple(dict.fromkeys(fields))
    categories = tuple(_category(bundle, name, place) for place, name in enumerate(names))
    return _terms(bundle, purpose, rules, inputs, names, categories)


def bind_all(bundle: Bundle, destination: Destination, purpose: Purpose, categories: Sequence[str]) -> Terms:
    """Return the terms of everything that could be asked at all: each category is read and leaves."""
    rules = [rule for rule in bundle.rules if _bears_on(rule, destination, purpose)]
    every = tuple(categories)
    return _terms(bundle, purpose, rules, frozenset(every), every, every)


def bind_categories(
    bundle: Bundle,
    destination: Destination,
    purpose: Purpose,
    inputs: frozenset[str],
    categories: Sequence[str],
) -> Terms:
    """Return the terms under which what is of these categories may leave, whatever field holds it."""
    rules = [rule for rule in bundle.rules if _bears_on(rule, destination, purpose)]
    return _terms(bundle, purpose, rules, inputs, tuple(categories), tuple(categories))


def chosen_by(
    bundle: Bundle, inputs: frozenset[str], reads: frozenset[str], lists: Mapping[str, str]
) -> frozenset[str]:
    """Return every category that people were chosen by: what it was called then, and what it is called now.

    :param inputs: the categories of then; ``reads`` the names of what the definition read.
    :param lists: list name → its category now.
    :raises DefinitionError: no definition may read one of them any more.
    """
    now = classified(reads, bundle.fields, lists)
    check_readable(unreadable(bundle, now))
    return inputs | now


def _terms(
    bundle: Bundle,
    purpose: Purpose,
    rules: Sequence[Rule],
    inputs: frozenset[str],
    names: tuple[str, ...],
    categories: tuple[str, ...],
) -> Terms:
    everywhere = bundle.jurisdictions.configured
    touched = inputs | frozenset(categories)

    def clauses(effect: str) -> tuple[Clause, ...]:
        return tuple(
            Clause(
                rule=rule.id,
                where=_where(rule, purpose, everywhere),
                inputs=_listed(bundle, rule, inputs, touched),
                plan=_plan(bundle, rule, categories),
            )
            for rule in rules
            if rule.effect == effect
            and (effect == "permit" or not rule.inputs or any(touches(rule, one) for one in touched))
        )

    return Terms(
        home=bundle.jurisdictions.controller,
        everywhere=everywhere,
        permits=clauses("permit"),
        forbids=clauses("forbid"),
        limits=clauses("limit"),
        inputs=inputs,
        fields=names,
        categories=categories,
    )


def _bears_on(rule: Rule, destination: Destination, purpose: Purpose) -> bool:
    channels, used = frozenset(rule.channels), frozenset(purpose.channels)
    if rule.effect == "permit":
        if rule.purpose != purpose.key or (channels and not used <= channels):
            return False
    elif not covers(rule.purpose, purpose.key) or (channels and used and not channels & used):
        return False
    return aims_at(rule, destination)


def _listed(bundle: Bundle, rule: Rule, inputs: frozenset[str], touched: frozenset[str]) -> frozenset[str]:
    """Return what a permit lets be read of ``inputs``, or what a forbid with inputs bears on."""
    if rule.effect == "permit":
        return frozenset(category for category in inputs if bundle.lists(rule.inputs, category))
    return frozenset(category for category in touched if rule.inputs and touches(rule, category))


def _where(rule: Rule, purpose: Purpose, everywhere: frozenset[str]) -> dict[str, tuple[Condition, ...]]:
    needed = _requirements(rule.require)
    covered = {}
    for place in sorted(rule.jurisdictions & everywhere if rule.jurisdictions else everywhere):
        if rule.effect != "permit":
            covered[place] = needed
            continue
        basis = _basis(rule, purpose, place)
        if basis is None:
            continue
        conditions = {*needed, *_BASIS_CONDITIONS.get(basis, ())}
        if basis == "consent" and place in purpose.separate_consent:
            conditions.add(Condition("separate_consent"))
        if basis == "consent" and place in purpose.double_opt_in:
            conditions.add(Condition("double_opt_in"))
        covered[place] = tuple(sorted(conditions))
    return covered


def _basis(rule: Rule, purpose: Purpose, place: str) -> Basis | None:
    """Return the legal basis on which a permit may count in ``place``; None when it may not."""
    needed = purpose.basis_in(place)
    if rule.legal_basis in {"", needed}:
        return needed
    return "consent" if rule.legal_basis == "consent" and needed == "opt_out" else None


def _requirements(require: Require) -> tuple[Condition, ...]:
    conditions = []
    if require.consent is not None:
        # "granted" is the only state that a rule can ask for; any other is a question without answer
        conditions.append(Condition("consent" if require.consent == "granted" else "unknown"))
    if require.max_age_days is not None:
        conditions.append(Condition("consent_age", require.max_age_days))
    if require.notice_current is not None:
        conditions.append(Condition("notice_current", wanted=require.notice_current))
    if require.not_minor is not None:
        conditions.append(Condition("not_minor", wanted=require.not_minor))
    return tuple(sorted(conditions))


def _named_fields(bundle: Bundle, permits: Sequence[Rule]) -> tuple[str, ...]:
    """Return the declared fields of every category that a permit names and does not drop."""
    named = {key for rule in permits for key, what in rule.fields.items() if key != "*" and what != DROP}
    declared = {**bundle.fields.identifiers, **bundle.fields.traits}
    declared.pop("external", None)  # stands for many identifier types, not for a field
    return tuple(sorted(name for name, rule in declared.items() if bundle.lists(named, rule.category)))


def _category(bundle: Bundle, name: str, place: int) -> str:
    rule = bundle.fields.output(name)
    if rule is None:
        raise InvalidInputError(
            f"fields[{place}] is neither a declared trait nor an identifier type; "
            "policies/fields.yaml lists those that are"
        )
    return rule.category


def _plan(bundle: Bundle, rule: Rule, categories: Sequence[str]) -> FieldPlan:
    """Return the rule's word on each category; a permit's silence drops, that of others changes nothing."""
    silence = DROP if rule.effect == "permit" else CLEAR
    return tuple(word(bundle, rule, category) or silence for category in categories)
