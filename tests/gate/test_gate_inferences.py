"""Conclusions about people: a sensitive one neither chooses people nor leaves, unless a permit names it.

The example is *likely pregnant*, a computed trait that another system sends. Each refusal has its
counterpart: the same question under a permit that names the category, which succeeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from gate_world import EMAIL, POLICIES, World, running

from cdp.errors import NotPermittedError
from cdp.gate import Facts, bind, decide
from cdp.gate.model import Condition, Truth
from cdp.policy import Bundle, Category, FieldRule, Rule, Transform, load, unreadable

HEALTH = "user.inferred.health"
PREGNANT = "likely_pregnant"
HASH = Transform("hash")
CLEAR = Transform("clear")
YES = {Condition("consent"): Truth.TRUE, Condition("not_minor"): Truth.TRUE}

world_fixture = pytest.fixture(running, name="world")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load(POLICIES)


def permit(fields: dict[str, Transform], inputs: Sequence[str] = ()) -> Rule:
    return Rule(
        id="permit", effect="permit", purpose=EMAIL, legal_basis="consent",
        jurisdictions=frozenset({"EU"}), inputs=tuple(inputs), fields=fields,
    )  # fmt: skip


def decided(
    bundle: Bundle, rule: Rule, *, inputs: Sequence[str] = (), fields: Sequence[str] = (PREGNANT,)
) -> Any:
    changed = msgspec.structs.replace(bundle, rules=(rule,))
    terms = bind(changed, bundle.destinations["mailer"], bundle.purposes[EMAIL], frozenset(inputs), fields)
    return decide(terms, Facts(places=frozenset({"EU"}), known=YES))


# -- declared, and not ------------------------------------------------------------------------------


def test_what_nobody_classified_counts_as_sensitive(bundle: Bundle) -> None:
    assert bundle.fields.inference_category(PREGNANT) == HEALTH
    assert bundle.is_sensitive(HEALTH)
    unknown = bundle.fields.inference_category("looks_like_a_cat_person")
    assert unknown == "user.inferred.undeclared"
    assert bundle.is_sensitive(unknown)
    assert not bundle.is_sensitive(bundle.fields.inference_category("value_tier"))


def test_an_inference_is_a_trait_that_knows_it_is_one(bundle: Bundle) -> None:
    rule = bundle.fields.traits[PREGNANT]
    assert (rule.inferred, rule.clear, rule.category) == (True, False, HEALTH)
    assert not bundle.fields.traits["email"].inferred


# -- leaving ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "plan"),
    [
        ({"user": CLEAR}, "drop"),
        ({"user": HASH}, "drop"),
        ({"user.inferred": CLEAR}, "drop"),
        ({"*": CLEAR}, "drop"),
        ({"*": HASH}, "drop"),
        ({HEALTH: CLEAR}, "clear"),
        ({HEALTH: HASH}, "hash"),
        ({"user": CLEAR, HEALTH: HASH}, "hash"),
        ({"user": CLEAR, HEALTH: Transform("drop")}, "drop"),
    ],
)
def test_only_its_own_name_lets_it_leave(bundle: Bundle, fields: dict[str, Transform], plan: str) -> None:
    decision = decided(bundle, permit(fields))
    assert decision.allowed
    assert [transform.kind for transform in decision.plan] == [plan]


def test_a_sensitive_category_above_names_it_too(bundle: Bundle) -> None:
    below = {**bundle.categories, "user.inferred.health.trimester": Category("…", "Trimester", True)}
    traits = {"trimester": FieldRule(name="trimester", category="user.inferred.health.trimester")}
    fields = msgspec.structs.replace(bundle.fields, traits=traits)
    changed = msgspec.structs.replace(bundle, categories=below, fields=fields)
    named = decided(changed, permit({HEALTH: CLEAR}), fields=["trimester"])
    assert [transform.kind for transform in named.plan] == ["clear"]


def test_without_a_wish_it_is_not_among_the_fields_of_a_permit_for_what_lies_above(bundle: Bundle) -> None:
    def names(given: dict[str, Transform]) -> tuple[str, ...]:
        changed = msgspec.structs.replace(bundle, rules=(permit(given),))
        mailer = bundle.destinations["mailer"]
        return bind(changed, mailer, bundle.purposes[EMAIL], frozenset(), None).fields

    assert "value_tier" in names({"user.inferred": CLEAR})
    assert PREGNANT not in names({"user.inferred": CLEAR})
    assert PREGNANT in names({HEALTH: CLEAR})


# -- choosing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ((), "input_not_permitted"),
        (("user",), "input_not_permitted"),
        (("user.inferred",), "input_not_permitted"),
        (("*",), "input_not_permitted"),
        ((HEALTH,), "permitted"),
    ],
)
def test_only_its_own_name_lets_it_choose(bundle: Bundle, listed: Sequence[str], reason: str) -> None:
    rule = permit({"user.contact.email": HASH}, listed)
    assert decided(bundle, rule, inputs=(HEALTH,), fields=("email",)).reason == reason
    ordinary = decided(bundle, rule, inputs=("user.inferred.value_tier",), fields=("email",))
    assert ordinary.allowed == bool({"user", "user.inferred"} & set(listed))


def test_a_segment_reads_what_a_permit_for_segmentation_names(bundle: Bundle) -> None:
    def refused(*rules: Rule, **changes: Any) -> frozenset[str]:
        changed = msgspec.structs.replace(bundle, rules=(*bundle.rules, *rules), **changes)
        return unreadable(changed, (HEALTH, "user.inferred.value_tier"))

    rule = Rule(
        id="care", effect="permit", purpose="segmentation", legal_basis="legitimate_interest",
        destination_names=frozenset({"controller"}), inputs=(HEALTH,),
    )  # fmt: skip
    assert refused() == {HEALTH}
    assert refused(rule) == frozenset()
    above = msgspec.structs.replace(rule, inputs=("user",))
    in_one_place = msgspec.structs.replace(rule, jurisdictions=frozenset({"EU"}))
    for_others = msgspec.structs.replace(rule, destination_names=frozenset({"crm"}))
    asking = msgspec.structs.replace(rule, require=msgspec.structs.replace(rule.require, not_minor=True))
    elsewhere = msgspec.structs.replace(rule, purpose="analytics")
    for narrower in (above, in_one_place, for_others, asking, elsewhere):
        assert refused(narrower) == {HEALTH}
    forbid = Rule(id="no", effect="forbid", purpose="segmentation", inputs=("user.inferred",))
    assert refused(rule, forbid) == {HEALTH, "user.inferred.value_tier"}
    assert refused(rule, destinations={}) == {HEALTH, "user.inferred.value_tier"}


# -- through the gate, over real databases ----------------------------------------------------------


def naming(bundle: Bundle, word: Transform) -> dict[str, Any]:
    """Return the rules with a permit that names the category, and without the forbid against it."""
    rules = [
        msgspec.structs.replace(rule, inputs=(*rule.inputs, HEALTH), fields={**rule.fields, HEALTH: word})
        if rule.id == "email-marketing-opt-in"
        else rule
        for rule in bundle.rules
        if rule.id != "no-sensitive-data-in-marketing"
    ]
    return {"rules": tuple(rules)}


def test_it_neither_chooses_nor_leaves_a_real_export(world: World) -> None:
    world.person("Ada", {PREGNANT: True})
    world.segments.reads = frozenset({HEALTH})
    with pytest.raises(NotPermittedError):
        world.gate.authorise(world.request(fields=("email",)))
    world.segments.reads = frozenset()
    with pytest.raises(NotPermittedError):
        world.gate.authorise(world.request(fields=("email", PREGNANT)))
    given = world.gate.authorise(world.request())
    assert PREGNANT not in given.fields
    assert world.emails(given.export_id) == {"ada@people.example"}


def test_a_permit_that_names_it_releases_it(world: World) -> None:
    """So that the refusals above are the policies' doing, and no accident."""
    world.person("Ada", {PREGNANT: "yes"})
    world.segments.reads = frozenset({HEALTH})
    world.change(**naming(world.bundle, CLEAR))
    given = world.gate.authorise(world.request(fields=("email", PREGNANT)))
    assert [row[PREGNANT] for row in world.rows(given.export_id)] == ["yes"]
    world.change(**naming(load(POLICIES), HASH))
    given = world.gate.authorise(world.request(fields=(PREGNANT,)))
    assert [row[PREGNANT] for row in world.rows(given.export_id)] == [hashlib.sha256(b"yes").hexdigest()]


def test_it_is_sealed_at_rest(world: World) -> None:
    world.person("Ada", {PREGNANT: "yes-a-canary"})
    assert b"yes-a-canary" not in world.stored()


def test_the_shipped_policies_hold_it_back_everywhere_but_from_the_person(bundle: Bundle) -> None:
    for rule in bundle.rules:
        if rule.effect == "permit":
            told = rule.purpose in {"rights", "compliance_review"}
            assert bundle.lists(rule.inputs, HEALTH) == told, rule.id
            assert bundle.lists(rule.fields, HEALTH) == told, rule.id
