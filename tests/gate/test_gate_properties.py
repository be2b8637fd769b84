"""Properties of the decision over random rules and people (privacy.md, "Policies", 5 and 6)."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from cdp.gate.bind import bind
from cdp.gate.compile import compile_sets
from cdp.gate.decide import decide, jurisdictions, meet, offered
from cdp.gate.model import (
    CLEAR,
    DROP,
    RESTRAINTS,
    Clause,
    Condition,
    Decision,
    Facts,
    FactSets,
    Terms,
    Truth,
)
from cdp.policy import Bundle, Purpose, Require, Rule, Transform, load

PLACES = ("CN", "EU", "US")
FIELDS = ("email", "first_name", "birthday")
INPUTS = ("user.behavior", "user.location")
CONDITIONS = (
    Condition("consent"),
    Condition("consent_age", 30),
    Condition("separate_consent"),
    Condition("double_opt_in"),
    Condition("notice_given"),
    Condition("notice_current"),
    Condition("notice_current", wanted=False),
    Condition("not_minor"),
    Condition("not_minor", wanted=False),
    Condition("place_known"),
    Condition("unknown"),
)
FACTS = tuple(c for c in CONDITIONS if c.wanted and c.kind not in {"place_known", "unknown"})
TRANSFORMS = (CLEAR, Transform("mask"), Transform("hash"), Transform("generalise", "country"), DROP)

transforms = st.sampled_from(TRANSFORMS)
clauses = st.builds(
    Clause,
    rule=st.just("rule"),
    where=st.dictionaries(
        st.sampled_from(PLACES), st.lists(st.sampled_from(CONDITIONS), max_size=2, unique=True).map(tuple)
    ),
    inputs=st.frozensets(st.sampled_from(INPUTS)),
    plan=st.tuples(transforms, transforms, transforms),
)
questions = st.builds(
    Terms,
    home=st.frozensets(st.sampled_from(PLACES[:2]), max_size=1),
    everywhere=st.just(frozenset(PLACES)),
    permits=st.lists(clauses, min_size=1, max_size=4).map(tuple),
    forbids=st.lists(clauses, max_size=1).map(tuple),
    limits=st.lists(clauses, max_size=2).map(tuple),
    inputs=st.frozensets(st.sampled_from(INPUTS), max_size=1),
    fields=st.just(FIELDS),
)
SHIPPED = load(Path(__file__).parents[2] / "policies")
PURPOSE = SHIPPED.purposes["marketing.communications.email"]
CATEGORIES = ("user.contact", "user.name.first", "user.demographic", "*")
places = st.frozensets(st.sampled_from(PLACES))
purposes = st.builds(
    lambda basis, separate, double: msgspec.structs.replace(
        PURPOSE, basis=basis, separate_consent=tuple(separate), double_opt_in=tuple(double)
    ),
    st.fixed_dictionaries(dict.fromkeys(PLACES, st.sampled_from(("consent", "opt_out", "contract")))),
    places,
    places,
)
rules = st.builds(
    Rule,
    id=st.just("rule"),
    effect=st.sampled_from(("permit", "permit", "permit", "forbid", "limit")),
    purpose=st.sampled_from((PURPOSE.key, PURPOSE.key, "marketing")),
    legal_basis=st.sampled_from(("", "consent", "opt_out", "contract")),
    jurisdictions=places,
    inputs=st.lists(st.sampled_from(INPUTS), unique=True).map(tuple),
    require=st.builds(
        Require,
        consent=st.sampled_from((None, "granted", "withdrawn")),
        max_age_days=st.sampled_from((None, None, 30)),
        notice_current=st.sampled_from((None, None, True, False)),
        not_minor=st.sampled_from((None, None, True, False)),
    ),
    fields=st.dictionaries(st.sampled_from(CATEGORIES), transforms),
)


def _bundle(purpose: Purpose, found: list[Rule], home: frozenset[str]) -> Bundle:
    where = msgspec.structs.replace(
        SHIPPED.jurisdictions, controller=home, configured=frozenset(PLACES), other="US"
    )
    return msgspec.structs.replace(
        SHIPPED,
        jurisdictions=where,
        purposes={**SHIPPED.purposes, purpose.key: purpose},
        rules=tuple(found),
    )


bundles = st.builds(
    _bundle,
    purposes,
    st.lists(rules, min_size=1, max_size=4),
    st.frozensets(st.sampled_from(PLACES[:2]), max_size=1),
)


def _bound(bundle: Bundle, inputs: frozenset[str]) -> Terms:
    purpose = bundle.purposes[PURPOSE.key]
    return bind(bundle, bundle.destinations["mailer"], purpose, inputs, FIELDS)


asked = st.frozensets(st.sampled_from(INPUTS), max_size=1)
questions |= st.builds(_bound, bundles, asked)  # terms as rules make them, and any others there could be
people = st.builds(
    Facts,
    places=st.none() | st.frozensets(st.sampled_from(PLACES), min_size=1),
    restraints=st.frozensets(st.sampled_from(RESTRAINTS), max_size=1) | st.just(frozenset()),
    known=st.dictionaries(st.sampled_from(FACTS), st.sampled_from((Truth.TRUE, Truth.TRUE, Truth.FALSE))),
    stale=st.booleans(),
)


def _sets(facts: list[Facts]) -> FactSets:
    def those(test: object) -> BitMap:
        return BitMap(no for no, one in enumerate(facts) if test(one))  # type: ignore[operator]  # a callable

    return FactSets(
        people=BitMap(range(len(facts))),
        places={p: those(lambda one, p=p: one.places is not None and p in one.places) for p in PLACES},
        restraints={r: those(lambda one, r=r: r in one.restraints) for r in RESTRAINTS},
        true={c: those(lambda one, c=c: one.known.get(c) is Truth.TRUE) for c in FACTS},
        false={c: those(lambda one, c=c: one.known.get(c) is Truth.FALSE) for c in FACTS},
        stale=those(lambda one: one.stale),
    )


@settings(max_examples=400, deadline=None)
@given(questions, st.lists(people, min_size=1, max_size=12))
def test_sets_and_single_people_are_decided_alike(terms: Terms, facts: list[Facts]) -> None:
    sets = _sets(facts)
    partition = compile_sets(terms, sets)
    seen = BitMap()
    for part in (*(people for people, _ in partition.classes), *partition.withheld.values()):
        assert not seen & part, "two parts share a person"
        seen |= part
    assert seen == sets.people
    for number, one in enumerate(facts):
        decision = decide(terms, one)
        assert sets.of(number) == Facts(
            places=one.places, restraints=one.restraints, known=one.known, stale=one.stale
        )
        if decision.allowed:
            assert [plan for part, plan in partition.classes if number in part] == [decision.plan]
        else:
            assert number in partition.withheld[decision.reason]


@settings(max_examples=400, deadline=None)
@given(bundles, asked, people)
def test_whoever_is_released_agreed_to_what_the_basis_asks_in_each_of_their_jurisdictions(
    bundle: Bundle, inputs: frozenset[str], facts: Facts
) -> None:
    """Read off the purpose itself, beside the binding of rules."""
    terms, purpose = _bound(bundle, inputs), bundle.purposes[PURPOSE.key]
    if not decide(terms, facts).allowed:
        return
    told = {condition.kind for condition, truth in facts.known.items() if truth is Truth.TRUE}
    for place in jurisdictions(terms, facts):
        agreed = {"consent"}
        if place in purpose.separate_consent:
            agreed.add("separate_consent")
        if place in purpose.double_opt_in:
            agreed.add("double_opt_in")
        basis = purpose.basis_in(place)
        if basis == "consent":
            assert agreed <= told
        elif basis == "opt_out":
            assert agreed <= told or (facts.places is not None and "notice_given" in told)


@settings(max_examples=600, deadline=None)
@given(questions, people)
def test_what_is_offered_covers_what_anybody_gets(terms: Terms, facts: Facts) -> None:
    """So it may stand for it before those who must not know what somebody got."""
    decision = decide(terms, facts)
    if decision.allowed and terms.permits:
        assert all(got in could for got, could in zip(decision.plan, offered(terms), strict=True))


def _reveals_no_more(before: Decision, after: Decision) -> bool:
    if not after.allowed:
        return True
    return before.allowed and all(
        meet(old, new) == new for old, new in zip(before.plan, after.plan, strict=True)
    )


@settings(max_examples=600, deadline=None)
@given(questions, people, st.data())
def test_knowing_less_or_being_restrained_more_never_reveals(
    terms: Terms, facts: Facts, data: st.DataObject
) -> None:
    """Property 6: each way to lose an enabling fact or to gain a restraint."""
    before = decide(terms, facts)
    known = dict(facts.known)
    for lost in data.draw(st.lists(st.sampled_from(FACTS), unique=True)):
        known.pop(lost, None)
    places = facts.places
    if data.draw(st.booleans()):
        places = None
    elif places is not None:
        places |= data.draw(st.frozensets(st.sampled_from(PLACES)))
    after = decide(
        terms,
        Facts(
            places=places,
            restraints=facts.restraints | data.draw(st.frozensets(st.sampled_from(RESTRAINTS), max_size=1)),
            known=known,
            stale=data.draw(st.booleans()),
        ),
    )
    assert _reveals_no_more(before, after), (before, after)


@given(transforms, transforms, transforms)
def test_the_transforms_are_a_meet_semilattice(one: Transform, two: Transform, three: Transform) -> None:
    assert meet(one, two) == meet(two, one)
    assert meet(one, meet(two, three)) == meet(meet(one, two), three)
    assert meet(one, one) == one
    assert meet(one, CLEAR) == one
    assert meet(one, DROP) == DROP
