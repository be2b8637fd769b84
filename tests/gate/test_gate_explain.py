"""The explanation is the decision: over random rules and people, and word by word in one case."""

from __future__ import annotations

from hypothesis import given, settings
from test_gate_properties import _sets, people, questions

from cdp.gate import Facts, Terms, Truth, compile_sets, decide
from cdp.gate.explain import explain
from cdp.gate.model import CLEAR, DROP, Clause, Condition
from cdp.policy import Transform

CONSENT = Condition("consent")


@settings(max_examples=500, deadline=None)
@given(questions, people)
def test_explanation_decision_and_compiled_predicate_are_one(terms: Terms, facts: Facts) -> None:
    explanation = explain(terms, facts)
    assert explanation.decision == decide(terms, facts)
    partition = compile_sets(terms, _sets([facts]))
    if explanation.decision.allowed:
        assert [plan for _, plan in partition.classes] == [explanation.decision.plan]
    else:
        assert list(partition.withheld) == [explanation.decision.reason]


@given(questions, people)
def test_every_rule_of_the_question_is_listed_where_the_person_is(terms: Terms, facts: Facts) -> None:
    explanation = explain(terms, facts)
    assert len(explanation.rules) == len(terms.permits) + len(terms.forbids) + len(terms.limits)
    for rule in explanation.rules:
        assert set(rule.where) <= set(explanation.places)
        for verdict in rule.where.values():
            known = dict(verdict.conditions)
            assert verdict.decided_by is None or known[verdict.decided_by] is verdict.truth


def test_what_stood_against_a_row_and_what_met_in_a_field_is_named() -> None:
    permit = Clause(rule="news", where={"EU": (CONSENT,), "CN": (CONSENT,)}, plan=(CLEAR, CLEAR))
    limit = Clause(rule="coarse", where={"EU": ()}, plan=(CLEAR, Transform("mask")))
    terms = Terms(
        home=frozenset({"EU"}),
        everywhere=frozenset({"EU", "CN"}),
        permits=(permit,),
        limits=(limit,),
        fields=("first_name", "email"),
        categories=("user.name", "user.contact.email"),
    )
    silent = explain(terms, Facts(places=frozenset({"EU"})))
    assert silent.decision.reason == "no_consent"
    assert silent.ungranted == ("EU",)
    verdict = silent.rules[0].where["EU"]
    assert (verdict.truth, verdict.decided_by) == (Truth.UNKNOWN, CONSENT)
    granted = explain(terms, Facts(places=frozenset({"EU"}), known={CONSENT: Truth.TRUE}))
    assert [(f.name, f.transform, f.words) for f in granted.fields] == [
        ("first_name", CLEAR, (("news", CLEAR),)),
        ("email", Transform("mask"), (("news", CLEAR), ("coarse", Transform("mask")))),
    ]
    assert DROP not in granted.decision.plan
