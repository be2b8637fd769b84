"""The shipped policies load; every kind of mistake is refused with file, line and fix."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.clock import parse_rfc3339
from cdp.errors import PolicyError
from cdp.policy import Bundle, Transform, covers, lineage, load, schemas

EVERYWHERE = {"EU", "UK", "US", "US-CA", "CN", "other"}
SHIPPED = Path(__file__).parents[2] / "policies"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(SHIPPED, tmp_path / "policies")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load(SHIPPED)


def edit(folder: Path, name: str, old: str, new: str) -> int:
    """Replace the only ``old`` in a file; returns its line."""
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{text.count(old)} × {old!r} in {name}"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


# -- what is shipped --------------------------------------------------------------------------------


def test_the_commerce_vocabulary_is_declared_clear_and_typed(bundle: Bundle) -> None:
    properties = bundle.fields.properties
    numbers = {"revenue", "total", "subtotal", "shipping", "tax", "discount", "price", "quantity", "value"}
    assert all(properties[name].clear and properties[name].type == "number" for name in numbers)
    assert {"product_id", "sku", "name", "price", "quantity"} <= properties["products"].items
    assert properties["currency"].type == "string"
    assert properties["path"].clear
    assert not properties["search"].clear


def test_what_names_a_person_is_sealed(bundle: Bundle) -> None:
    for name in ("email", "phone", "first_name", "last_name", "name", "birthday", "address.street", "gender"):
        assert not bundle.fields.traits[name].clear
    assert all(rule.protection == "sealed+index" for rule in bundle.fields.identifiers.values())


def test_every_destination_purpose_has_a_permit_somewhere(bundle: Bundle) -> None:
    permitted = {rule.purpose for rule in bundle.rules if rule.effect == "permit"}
    for destination in bundle.destinations.values():
        assert destination.purposes <= permitted


def test_the_controller_serves_every_internal_purpose(bundle: Bundle) -> None:
    controller = bundle.destinations["controller"]
    internal = {key for key, purpose in bundle.purposes.items() if purpose.internal}
    assert internal <= controller.purposes
    assert controller.minimum_audience == 0
    assert not bundle.purposes["rights"].restrainable


def test_transforms_are_parsed(bundle: Bundle) -> None:
    rule = next(rule for rule in bundle.rules if rule.id == "email-marketing-opt-in")
    assert rule.fields["user.contact.email"] == Transform("clear")
    assert rule.fields["user.location"] == Transform("generalise", "country")
    assert rule.fields["user.unique_id"] == Transform("pseudonymise", "per_destination")
    assert rule.fields["*"] == Transform("drop")


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (["EIRE"], {"EU"}),
        (["no"], {"EU"}),  # Norway, not false
        (["United Kingdom"], {"EU", "UK"}),
        ([" gb "], {"EU", "UK"}),
        (["USA", "France"], {"EU", "US", "US-CA"}),  # no state: any law of the country may bind
        (["US-CA"], {"EU", "US-CA"}),
        (["us-tx"], {"EU", "US"}),
        (["California"], {"EU", "other"}),  # no country by that name
        (["Brazil"], {"EU", "other"}),
        ([], EVERYWHERE),
        (["Unspecified", ""], EVERYWHERE),
        (["Unspecified", "China"], {"EU", "CN"}),
    ],
)
def test_jurisdictions_are_the_controller_s_and_every_recorded_place_s(
    bundle: Bundle, places: list[str], expected: set[str]
) -> None:
    assert bundle.jurisdictions.of(places) == expected


@pytest.mark.parametrize(
    ("countries", "states", "expected"),
    [
        (["US"], ["CA"], {"EU", "US-CA"}),
        (["USA"], [" california "], {"EU", "US-CA"}),
        (["US"], ["Texas"], {"EU", "US"}),
        (["US"], ["Texas", "CA"], {"EU", "US", "US-CA"}),  # moved: the law of both places
        (["US"], ["Los Angeles"], {"EU", "US", "US-CA"}),  # not known, so it takes nothing away
        (
            ["US"],
            ["NY", "Springfield"],
            {"EU", "US", "US-CA"},
        ),  # one is known and the other may be California
        (["US"], ["NY", "unknown"], {"EU", "US", "US-CA"}),
        (["US-CA"], ["NY"], {"EU", "US", "US-CA"}),
        (["US-NY"], [], {"EU", "US"}),
        (["US-ZZ"], [], {"EU", "US", "US-CA"}),
        (["DE-BY"], [], {"EU"}),  # ISO 3166-2
        ([], ["California", "Springfield"], {"EU", "US", "US-CA"}),
        (["US", "China"], ["CA"], {"EU", "US-CA", "CN"}),
        (["Spain"], ["CA"], {"EU"}),  # Cádiz
        ([], ["California"], {"EU", "US-CA"}),
        ([], ["Bavaria"], EVERYWHERE),  # a state alone says nothing unless it has a law of its own
        ([], ["unknown"], EVERYWHERE),
    ],
)
def test_a_state_counts_within_its_country(
    bundle: Bundle, countries: list[str], states: list[str], expected: set[str]
) -> None:
    assert bundle.jurisdictions.of(countries, states) == expected


COUNTRY_HINTS = st.frozensets(st.sampled_from(["US", "Spain", "CN", "US-CA", "Atlantis", "unspecified", ""]))
STATE_HINTS = st.frozensets(st.sampled_from(["Texas", "CA", "Bavaria", "unknown"]))


@given(COUNTRY_HINTS, STATE_HINTS, COUNTRY_HINTS, STATE_HINTS)
def test_one_more_hint_takes_no_law_away(
    bundle: Bundle, places: frozenset[str], states: frozenset[str], more: frozenset[str], near: frozenset[str]
) -> None:
    hinted = bundle.jurisdictions.hinted
    assert hinted(places, states) <= hinted(places | more, states | near)
    assert hinted(places) == bundle.jurisdictions.recorded(places)


@given(st.lists(st.sampled_from(["US", "Texas", "CA", "France", "us-ca", "nowhere at all", "n/a"])))
def test_an_unknown_state_never_takes_a_jurisdiction_away(bundle: Bundle, countries: list[str]) -> None:
    known = bundle.jurisdictions.of(countries)
    assert bundle.jurisdictions.of(countries, ["Middle Earth"]) >= known
    assert bundle.jurisdictions.of([*countries, "Japan"]) >= known - EVERYWHERE | {"other"}


def test_the_basis_of_a_purpose_depends_on_the_jurisdiction(bundle: Bundle) -> None:
    email = "marketing.communications.email"
    assert bundle.basis(email, "EU") == "consent"
    assert bundle.basis(email, "US") == "opt_out"
    assert bundle.basis("nothing", "EU") is None


def test_sensitive_is_inherited_and_the_unknown_counts_as_sensitive(bundle: Bundle) -> None:
    assert bundle.is_sensitive("user.health.genetic")
    assert bundle.is_sensitive("user.not_declared")
    assert not bundle.is_sensitive("user.contact.email")


def test_the_notice_in_force_is_found_by_time(folder: Path) -> None:
    old = "          zh: 我们衡量服务的使用情况以改进服务。\n"  # a Chinese text
    new = (
        old
        + "      - {id: analytics, version: 2, in_force_from: 2024-06-01, material: false, text: Shorter.}\n"
    )
    edit(folder, "purposes.yaml", old, new)
    analytics = load(folder).purposes["analytics"]
    change = parse_rfc3339("2024-06-01")
    found = [analytics.notice_at(at) for at in (0, change - 1, change)]
    assert [notice and notice.version for notice in found] == [None, 1, 2]
    assert analytics.notices[0].sha256 != analytics.notices[1].sha256


# -- the digest -------------------------------------------------------------------------------------


def test_the_digest_changes_with_any_file_and_only_with_them(folder: Path, bundle: Bundle) -> None:
    assert load(folder).sha256 == bundle.sha256
    (folder / "README.md").write_text("not a policy")
    assert load(folder).sha256 == bundle.sha256
    edit(folder, "destinations/crm.yaml", "DPA-2025-021", "DPA-2025-022")
    assert load(folder).sha256 != bundle.sha256


# -- refusals ---------------------------------------------------------------------------------------

MAIL = "destinations/mailer.yaml"
GENDER = "  gender: {category: user.demographic.gender}"
LOCATION = "    user.location: {generalise: country}"
NOTHING_BUT_DATA = "anchors, aliases and tags"
# file, what is there, what stands there instead, what the error says of that line
MISTAKES = [
    # unknown keys and wrong types
    ("fields.yaml", "language: {category", "language: {catgory",
     "unknown key 'catgory'; did you mean 'category'?"),
    ("purposes.yaml", "    restrainable: false", "    restrainable: no", "true or false is wanted"),
    ("identity.yaml", "profile_cap: 500", "profile_cap: many", "a whole number is wanted"),
    ("identity.yaml", "profile_cap: 500", "profile_cap: 0", "at least 1"),
    ("identity.yaml", "profile_cap: 500", "profile_cap:", "a whole number is wanted"),
    ("destinations/adnet.yaml", "role: third_party", "role: third-party", "did you mean 'third_party'?"),
    ("destinations/adnet.yaml", "minimum_audience: 100", "minimum_audience: -1", "at least 0"),
    (MAIL, "title: Paper Plane Mail (fictional)", "title:", "a value is missing"),
    (MAIL, "title: Paper Plane Mail (fictional)", "title: [a, b]", "a single value"),
    (MAIL, "contract_expires: 2030-12-31", "contract_expires: 2030-13-31", "not a date"),
    (MAIL, "enabled: true", "opendsr: {url: 'http://mailer.example/v2'}\nenabled: true", "an https URL"),
    (MAIL, "enabled: true", "opendsr: {url: 'https://u:p@127.0.0.1/v2'}\nenabled: true", "an https URL"),
    (MAIL, "enabled: true", "opendsr: {url: 'https://mailer.example/v2?a=b'}\nenabled: true", "an https URL"),
    (MAIL, "enabled: true", "opendsr: {url: 'https:///v2'}\nenabled: true", "an https URL"),
    (MAIL, "enabled: true", "opendsr: {url: 'https://mailer.example:99999/'}\nenabled: true", "an https URL"),
    ("taxonomy.yaml", "  user.name.last: {name", "  user.name: {name", "given twice"),
    ("taxonomy.yaml", "  user.name.last:", "  user.nmae.last:", "did you mean 'user.name'?"),
    ("taxonomy.yaml", "  user.name.last:", "  user.name.Last:", "snake_case"),
    ("rules/protection.yaml", "effect: limit", "effect: limits", "is not one of: forbid, limit, permit"),
    # YAML itself
    ("rules/service.yaml", "- id: personalisation", "- id: &me personalisation", NOTHING_BUT_DATA),
    ("rules/service.yaml", "- id: personalisation", "- id: !!str x", NOTHING_BUT_DATA),
    # dangling names
    ("fields.yaml", "    category: user.demographic.date", "    category: user.demografic.date",
     "did you mean 'user.demographic.date_of_birth'?"),
    ("identity.yaml", "  device_id: {class", "  devise_id: {class", "did you mean 'device_id'?"),
    ("signals.yaml", "  Analytics: [analytics]", "  Analytics: [analytcs]", "did you mean 'analytics'?"),
    ("signals.yaml", "  Analytics: [analytics]", "  Analytics: [segmentation]", "is internal"),
    ("jurisdictions.yaml", "controller: [EU]", "controller: [EUR]", "did you mean 'EU'?"),
    ("jurisdictions.yaml", "US: [USA, ", "US: [Sweden, ", "is a place of 'SE' already"),
    ("jurisdictions.yaml", "US: [USA, ", "US: [Unknown, ", "nowhere"),
    ("destinations/crm.yaml", "country: DE", "country: GERMANY", "is not declared"),
    ("destinations/crm.yaml", "purposes: [", "purposes: [segmentation, ", "only the controller uses it"),
    ("destinations/crm.yaml", "name: crm", "name: crn", "must be named crn.yaml"),
    ("rules/service.yaml", "type: [internal, crm]", "type: [internal, cmr]", "did you mean 'crm'?"),
    ("rules/communications.yaml", "    user.name: clear", "    user.nmae: clear",
     "did you mean 'user.name'?"),
    ("rules/communications.yaml", "id: telephone-marketing", "id: sms-marketing", "another rule with the id"),
    # contradictions
    ("fields.yaml", GENDER, "  faith: {category: user.demographic.religious_belief, protection: clear}",
     "sensitive category"),
    ("fields.yaml", GENDER, "  profile_ref: {category: user.demographic.gender}", "exports have anyway"),
    ("fields.yaml", GENDER, "  gender: {category: user.demographic.gender, place: country}", "must be clear"),
    ("fields.yaml", "  device_id: {category: user.device.device_id, protection: sealed+index}",
     "  device_id: {category: user.device.device_id, protection: clear}", "always sealed+index"),
    ("identity.yaml", "priority: 3", "priority: 2", "has this priority already"),
    ("identity.yaml", "unique: true}", "unique: true, limit: {count: 1}}", "take the limit away"),
    ("identity.yaml", "limit: {count: 200}", "limit: {count: 501}", "above profile_cap"),
    ("identity.yaml", '"[-x]+"]', '"[-x+"]', "not a regular expression"),
    ("purposes.yaml", "    name: Segmentation", "    separate_consent: [CN]\n    name: Segmentation",
     "needs the basis consent"),
    ("destinations/controller.yaml", "minimum_audience: 0", "minimum_audience: 5", "no minimum audience"),
    ("rules/internal.yaml", '  fields: {"*": drop}', '  fields: {"*": dorp}', "did you mean 'drop'?"),
    ("rules/protection.yaml", LOCATION, "    user.location: {generalise: county}", "did you mean 'country'?"),
    ("rules/protection.yaml", LOCATION, "    user.location: clear", "limits nothing"),
    ("rules/protection.yaml", LOCATION, "    user.contact.email: {generalise: country}", "takes domain"),
    ("rules/protection.yaml", "  require: {not_minor: false}", "  fields: {user.name: drop}",
     "use effect: limit"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old", "new", "message"), MISTAKES, ids=[f"{row[0]}: {row[3]}" for row in MISTAKES]
)
def test_a_mistake_is_refused_at_its_line(folder: Path, name: str, old: str, new: str, message: str) -> None:
    line = edit(folder, name, old, new)
    with pytest.raises(PolicyError) as refused:
        load(folder)
    assert message in str(refused.value)
    assert (refused.value.file, refused.value.line) == (name, line)


def test_a_file_that_is_no_yaml_is_refused_where_it_breaks(folder: Path) -> None:
    edit(folder, MAIL, "purposes: [", "purposes: {[")
    with pytest.raises(PolicyError, match=r"mailer\.yaml:\d+: not valid YAML"):
        load(folder)


def test_versions_of_a_notice_stand_in_order(folder: Path) -> None:
    old = "          zh: 我们衡量服务的使用情况以改进服务。\n"  # a Chinese text
    again = "      - {id: analytics, version: 1, in_force_from: 2024-06-01, material: true, text: Again.}\n"
    edit(folder, "purposes.yaml", old, old + again)
    with pytest.raises(PolicyError, match="stand in order"):
        load(folder)


GRANTED = "legal_basis: consent, require: {consent: granted"
RULES = [
    ("effect: permit, purpose: analytics", "names its legal basis"),
    ("effect: permit, purpose: analytics, legal_basis: contract", "is consent, not contract"),
    ("effect: permit, purpose: analytics, legal_basis: consent, jurisdictions: EU", "consent: granted"),
    ("effect: permit, purpose: analytics, jurisdictions: US, legal_basis: opt_out, require: {consent: x}",
     "consent: granted"),
    ("effect: permit, purpose: analytics, legal_basis: consent, require: {consent: refused}",
     "the only consent that permits"),
    (f"effect: permit, purpose: analytics, {GRANTED}, max_age_days: 9999}}", "max_age_days must lie between"),
    (f"effect: permit, purpose: analytics, {GRANTED}, not_minor: false}}", "cannot ask for the lack"),
    (f"effect: permit, purpose: marketing, {GRANTED}, notice_current: true}}", "has no notice"),
    (f"effect: permit, purpose: analytics, channels: email, {GRANTED}}}", "has no channel 'email'"),
    ("effect: forbid, purpose: analytics, legal_basis: consent", "needs no legal basis"),
    ("effect: limit, purpose: analytics", "limits nothing"),
    ("effect: limit, purpose: analytics, inputs: user, fields: {user: mask}", "is about fields"),
    ("effect: limit, purpose: marketing.communications, fields: {user.location: mask}",
     "contradicts the limit 'location-by-country-only'"),
    ("effect: limit, purpose: analytics, fields: {user: {mask: a, hash: b}}", "one transform a field"),
    ("effect: limit, purpose: analytics, fields: {user: {mask: a}}", "takes nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "message"), RULES, ids=[row[1] for row in RULES])
def test_a_rule_that_contradicts_itself_is_refused(folder: Path, rule: str, message: str) -> None:
    (folder / "rules" / "zz.yaml").write_text(f"# a new rule\n{{id: x, {rule}}}\n")
    with pytest.raises(PolicyError) as refused:
        load(folder)
    assert message in str(refused.value)
    assert (refused.value.file, refused.value.line) == ("rules/zz.yaml", 2)


def test_a_limit_may_be_tightened_to_drop(folder: Path) -> None:
    rule = "{id: x, effect: limit, purpose: marketing.communications, fields: {user.location: drop}}"
    (folder / "rules" / "zz.yaml").write_text(rule)
    assert any(found.id == "x" for found in load(folder).rules)


@pytest.mark.parametrize("name", ["taxonomy.yaml", "fields.yaml", "identity.yaml", "purposes.yaml"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(PolicyError, match=f"{name}: this policy file is missing"):
        load(folder)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="missing"):
        load(tmp_path / "nowhere")


def test_a_misnamed_file_is_refused_not_ignored(folder: Path) -> None:
    (folder / "feilds.yaml").write_text("{}")
    with pytest.raises(PolicyError, match=r"did you mean 'fields.yaml'"):
        load(folder)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"a: \x00", b"x: {" * 5000, b"#" * 1_000_001])
def test_what_is_no_policy_at_all_is_refused(folder: Path, content: bytes) -> None:
    (folder / "taxonomy.yaml").write_bytes(content)
    with pytest.raises(PolicyError, match=r"taxonomy\.yaml"):
        load(folder)


def test_each_kind_of_file_has_a_schema() -> None:
    found = schemas()
    assert set(found) >= {"fields.yaml", "purposes.yaml", "rules", "destinations"}
    assert all(schema["$schema"].endswith("2020-12/schema") for schema in found.values())


# -- dotted names -----------------------------------------------------------------------------------

KEYS = st.lists(st.sampled_from(["a", "ab", "b"]), min_size=1, max_size=4).map(".".join)


@given(KEYS, KEYS)
def test_a_key_is_covered_by_its_lineage_and_by_nothing_else(above: str, below: str) -> None:
    assert covers(above, below) == (above in lineage(below))
