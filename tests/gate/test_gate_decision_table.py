"""The decision as a table: read each line as "under these rules, of this person we decide …".

The rules are small ones made here, so that a line shows all that matters. EU asks for consent, US lets
people opt out after a notice; the controller sits in the EU unless a line says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdp.errors import InvalidInputError
from cdp.gate import Facts, Terms, Truth, bind, decide
from cdp.gate.model import Condition
from cdp.policy import Bundle, FieldCatalogue, FieldRule, Require, Rule, Transform, load

POLICIES = Path(__file__).parents[2] / "policies"
PURPOSE = "marketing.communications.email"
EMAIL, NAME, COUNTRY = "user.contact.email", "user.name.first", "user.location.coarse"

YES = Truth.TRUE
CONSENT = {Condition("consent"): YES}
TOLD = {Condition("notice_given"): YES, Condition("notice_current"): YES}
OPT_IN = Rule(
    id="opt-in",
    effect="permit",
    purpose=PURPOSE,
    legal_basis="consent",
    jurisdictions=frozenset({"EU", "UK", "CN", "other"}),
    inputs=("user.behavior",),
    require=Require(consent="granted"),
    fields={EMAIL: Transform("clear"), NAME: Transform("clear"), "*": Transform("drop")},
)
OPT_OUT = Rule(
    id="opt-out",
    effect="permit",
    purpose=PURPOSE,
    legal_basis="opt_out",
    jurisdictions=frozenset({"US"}),
    inputs=("user.behavior", COUNTRY),
    fields={EMAIL: Transform("clear"), NAME: Transform("mask"), "*": Transform("drop")},
)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    loaded = load(POLICIES)
    fields = FieldCatalogue(
        traits={
            "email": FieldRule(name="email", category=EMAIL),
            "first_name": FieldRule(name="first_name", category=NAME),
            "country": FieldRule(name="country", category=COUNTRY, place="country"),
        },
        properties={},
        context={},
        identifiers={},
    )
    return msgspec.structs.replace(loaded, fields=fields)


def terms(
    bundle: Bundle,
    rules: Sequence[Rule] = (OPT_IN, OPT_OUT),
    *,
    inputs: Sequence[str] = (),
    fields: Sequence[str] | None = ("email", "first_name"),
    controller: Sequence[str] = ("EU",),
) -> Terms:
    places = msgspec.structs.replace(bundle.jurisdictions, controller=frozenset(controller))
    changed = msgspec.structs.replace(bundle, rules=tuple(rules), jurisdictions=places)
    return bind(changed, bundle.destinations["mailer"], bundle.purposes[PURPOSE], frozenset(inputs), fields)


def person(places: str | None = "EU", known: Any = None, **more: Any) -> Facts:
    return Facts(places=None if places is None else frozenset(places.split()), known=known or {}, **more)


def yes(*also: Condition, but: str = "") -> Facts:
    """Somebody of the EU who consented, ``also`` holds, ``but`` restrains."""
    return person(known=CONSENT | dict.fromkeys(also, YES), restraints=frozenset(but.split()))


FORBID_MINORS = Rule(id="minors", effect="forbid", purpose="marketing", require=Require(not_minor=False))
LIMIT_NAMES = Rule(id="names", effect="limit", purpose="marketing", fields={"user.name": Transform("hash")})
CURRENT = msgspec.structs.replace(OPT_IN, require=Require(consent="granted", notice_current=True))
RECENT = msgspec.structs.replace(OPT_IN, require=Require(consent="granted", max_age_days=30))
OTHER_BASIS = msgspec.structs.replace(OPT_IN, legal_basis="legitimate_interest")
BROADER = msgspec.structs.replace(OPT_IN, purpose="marketing.communications")


@pytest.mark.parametrize(
    ("who", "given", "rules", "decided"),
    [
        # consent, in the EU
        ("said yes", person(known=CONSENT), None, "permitted"),
        ("never asked", person(), None, "no_consent"),
        ("said yes long ago", person(stale=True), None, "stale"),
        ("said yes, then withdrew", yes(but="withdrawn"), None, "withdrawn"),
        ("said yes, but objects", yes(but="objected"), None, "objected"),
        ("restricted and withdrawn", yes(but="withdrawn restricted"), None, "restricted"),
        ("on a black list", yes(but="black_list"), None, "black_list"),
        # default deny
        ("said yes, but no rule at all", person(known=CONSENT), (), "not_permitted"),
        ("a rule on another basis than the law's", person(known=CONSENT), (OTHER_BASIS,), "not_permitted"),
        ("a permit for what lies above", person(known=CONSENT), (BROADER,), "not_permitted"),
        # more than consent
        ("yes, on the current notice", person(known=CONSENT | TOLD), (CURRENT,), "permitted"),
        ("yes, on an old notice", person(known=CONSENT), (CURRENT,), "notice_not_current"),
        ("yes, 30 days ago", yes(Condition("consent_age", 30)), (RECENT,), "permitted"),
        ("yes, longer ago", person(known=CONSENT), (RECENT,), "stale"),
        # forbid overrides permit; UNKNOWN is enough
        ("of age", yes(Condition("not_minor")), (OPT_IN, FORBID_MINORS), "permitted"),
        ("a minor, or nobody looked", person(known=CONSENT), (OPT_IN, FORBID_MINORS), "forbidden"),
        # every jurisdiction must permit
        ("EU and US, yes, told", person("EU US", CONSENT | TOLD), None, "permitted"),
        ("EU and US, yes, never told", person("EU US", CONSENT), None, "notice_not_given"),
        ("US only counts with the controller's EU", person("US", TOLD), None, "no_consent"),
        ("no place: everywhere must permit", person(None, CONSENT | TOLD), None, "jurisdiction_unknown"),
        ("China needs a separate consent", person("CN", CONSENT), None, "no_separate_consent"),
        ("and has it", person("CN", CONSENT | {Condition("separate_consent"): YES}), None, "permitted"),
        ("a place without a rule", person("EU US", CONSENT | TOLD), (OPT_IN,), "not_permitted"),
    ],
)  # fmt: skip
def test_the_row(
    bundle: Bundle, who: str, given: Facts, rules: tuple[Rule, ...] | None, decided: str
) -> None:
    asked = terms(bundle) if rules is None else terms(bundle, rules)
    decision = decide(asked, given)
    assert decision.reason == decided, who
    assert decision.allowed == (decided == "permitted"), who


@pytest.mark.parametrize(
    ("given", "decided"),
    [
        (person("US", TOLD), "permitted"),
        (person("US"), "notice_not_given"),
        (person("US", TOLD, restraints=frozenset({"opted_out"})), "opted_out"),
        (person(None, TOLD | CONSENT | {Condition("separate_consent"): YES}), "jurisdiction_unknown"),
    ],
)
def test_an_opt_out_basis_needs_notice_a_known_place_and_no_opt_out(
    bundle: Bundle, given: Facts, decided: str
) -> None:
    assert decide(terms(bundle, controller=("US",)), given).reason == decided


@pytest.mark.parametrize(
    ("reads", "places", "decided"),
    [
        ((), "EU", "permitted"),
        (("user.behavior.purchase_history",), "EU", "permitted"),
        (("user.behaviour",), "EU", "input_not_permitted"),
        ((COUNTRY,), "EU", "input_not_permitted"),
        ((COUNTRY,), "EU US", "input_not_permitted"),  # the US rule lists it, the EU rule does not
        ((EMAIL,), "EU", "input_not_permitted"),  # may leave in clear, and still not choose people
        (("user",), "EU", "input_not_permitted"),  # reads more than the rule lists
    ],
)
def test_what_the_definition_reads_counts_too(
    bundle: Bundle, reads: tuple[str, ...], places: str, decided: str
) -> None:
    assert decide(terms(bundle, inputs=reads), person(places, CONSENT | TOLD)).reason == decided


def test_a_star_never_covers_inputs(bundle: Bundle) -> None:
    star = msgspec.structs.replace(OPT_IN, inputs=("*",), fields={"*": Transform("clear")})
    assert decide(terms(bundle, (star,), inputs=(COUNTRY,)), person(known=CONSENT)).allowed is False


def test_a_forbid_with_inputs_bears_on_what_is_read_or_asked_for(bundle: Bundle) -> None:
    health = Rule(id="health", effect="forbid", purpose="marketing", inputs=("user.behavior.health",))
    rules = (OPT_IN, health)
    assert decide(terms(bundle, rules), yes()).allowed
    assert decide(terms(bundle, rules, inputs=("user.behavior.health.visits",)), yes()).reason == "forbidden"
    assert decide(terms(bundle, rules, inputs=("user.behavior",)), yes()).reason == "forbidden"


@pytest.mark.parametrize(
    ("places", "rules", "email", "name"),
    [
        ("EU", (OPT_IN,), "clear", "clear"),
        ("EU US", (OPT_IN, OPT_OUT), "clear", "mask"),
        ("EU", (OPT_IN, OPT_OUT), "clear", "clear"),  # the US rule has no word on somebody of the EU alone
        ("EU", (OPT_IN, LIMIT_NAMES), "clear", "hash"),
        ("EU US", (OPT_IN, OPT_OUT, LIMIT_NAMES), "clear", "drop"),  # mask and hash differ: neither
    ],
)
def test_the_fields(bundle: Bundle, places: str, rules: tuple[Rule, ...], email: str, name: str) -> None:
    decision = decide(terms(bundle, rules), person(places, CONSENT | TOLD))
    assert [transform.kind for transform in decision.plan] == [email, name]


def test_a_permit_that_might_hold_still_lowers_the_fields(bundle: Bundle) -> None:
    """Losing the fact that makes a permit TRUE must not raise what another one releases."""
    masking = msgspec.structs.replace(RECENT, id="masking", fields={EMAIL: Transform("mask")})
    asked = terms(bundle, (OPT_IN, masking))
    recent = decide(asked, yes(Condition("consent_age", 30)))
    old = decide(asked, person(known=CONSENT))
    assert recent.plan == old.plan == (Transform("mask"), Transform("drop"))


def test_fields_that_nobody_asked_for_are_those_the_permits_name(bundle: Bundle) -> None:
    assert terms(bundle, fields=None).fields == ("email", "first_name")
    asked = terms(bundle, fields=("country", "email", "country"))
    assert asked.fields == ("country", "email")
    decision = decide(asked, person(known=CONSENT))
    assert [transform.kind for transform in decision.plan] == ["drop", "clear"]


def test_an_undeclared_field_is_refused(bundle: Bundle) -> None:
    with pytest.raises(InvalidInputError, match=r"fields\[0\]"):
        terms(bundle, fields=("shoe_size",))


def test_a_permit_for_one_channel_does_not_cover_a_purpose_with_two(bundle: Bundle) -> None:
    purpose = msgspec.structs.replace(bundle.purposes[PURPOSE], channels=("email", "sms"))
    rule = msgspec.structs.replace(OPT_IN, channels=("email",))
    changed = msgspec.structs.replace(bundle, rules=(rule,))
    asked = bind(changed, bundle.destinations["mailer"], purpose, frozenset(), ("email",))
    assert decide(asked, person(known=CONSENT)).reason == "not_permitted"


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ({"destination_types": frozenset({"esp"})}, True),
        ({"destination_types": frozenset({"ad_network"})}, False),
        ({"destination_regions": frozenset({"EEA"})}, True),
        ({"destination_regions": frozenset({"IE"})}, True),
        ({"destination_regions": frozenset({"US"})}, False),
        ({"destination_names": frozenset({"mailer"})}, True),
        ({"destination_names": frozenset({"crm"})}, False),
    ],
)
def test_a_rule_bears_on_its_destinations(bundle: Bundle, target: dict[str, Any], allowed: bool) -> None:  # noqa: FBT001  # a column of the table
    rule = msgspec.structs.replace(OPT_IN, **target)
    assert decide(terms(bundle, (rule,)), person(known=CONSENT)).allowed is allowed
