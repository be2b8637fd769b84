"""``policy.check``: each mistake and each contradiction at its file and line, with what to do about it."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from cdp.policy import Finding, check, load, read_folder

SHIPPED = Path(__file__).parents[2] / "policies"
TODAY = date(2026, 11, 22)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(SHIPPED, tmp_path / "policies")


def found(folder: Path) -> list[Finding]:
    return check(read_folder(folder), TODAY)


def edit(folder: Path, name: str, old: str, new: str) -> int:
    """Replace the only ``old`` in a file; returns its line."""
    text = (folder / name).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{text.count(old)} × {old!r} in {name}"
    (folder / name).write_text(text.replace(old, new), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


def test_what_is_shipped_has_nothing_against_it() -> None:
    assert found(SHIPPED) == []


def test_mistakes_of_form_are_named_in_all_files_at_once(folder: Path) -> None:
    edit(folder, "identity.yaml", "profile_cap: 500", "profile_cap: many")
    edit(folder, "fields.yaml", "language: {category", "language: {catgory")
    edit(folder, "destinations/crm.yaml", "role: processor", "role: procesor")
    (folder / "rules" / "odd.txt").write_text("no policy")
    assert [(one.file, one.severity) for one in found(folder)] == [
        ("destinations/crm.yaml", "error"),
        ("fields.yaml", "error"),
        ("identity.yaml", "error"),
        ("rules/odd.txt", "error"),
    ]
    fields = next(one for one in found(folder) if one.file == "fields.yaml")
    assert (fields.message, fields.fix) == ("unknown key 'catgory'", "did you mean 'category'?")


def test_mistakes_of_meaning_are_named_in_each_file_of_rules(folder: Path) -> None:
    edit(folder, "rules/communications.yaml", "    user.name: clear", "    user.nmae: clear")
    edit(folder, "rules/service.yaml", "type: [internal, crm]", "type: [internal, cmr]")
    assert [one.file for one in found(folder)] == ["rules/communications.yaml", "rules/service.yaml"]
    assert all(one.line and "did you mean" in one.fix for one in found(folder))


def test_a_missing_file_is_an_error_with_the_fix(folder: Path) -> None:
    (folder / "taxonomy.yaml").unlink()
    (missing,) = found(folder)
    assert (missing.file, missing.line, missing.fix) == (
        "taxonomy.yaml", None, "CDP_POLICIES_DIR names the folder",
    )  # fmt: skip


THIRD = "marketing.advertising.third_party"
GRANTED = "legal_basis: consent, require: {consent: granted}"
# a rule in a file of its own → severity, what is said of it
RULES = [
    # permits that never count
    (f"effect: permit, purpose: analytics, destinations: {{name: mailer}}, {GRANTED}",
     "error", "names mailer, which may not receive data for analytics"),
    (f"effect: permit, purpose: analytics, destinations: {{type: esp}}, {GRANTED}",
     "error", "never counts: no destination it is about may receive analytics"),
    # forbids that leave nothing
    ("effect: forbid, purpose: analytics, require: {not_minor: true}",
     "warning", "fires for everybody"),
    ("effect: limit, purpose: marketing.communications.email, fields: {user.name.first: mask}",
     None, ""),  # a limit below what is clear is just that
    ("effect: limit, purpose: marketing.advertising, fields: {user.contact.email: mask}",
     "warning", "differ on user.contact.email: together they drop it"),
    ("effect: limit, purpose: marketing, fields: {user.location.coarse: mask}",
     "warning", "differ on user.location.coarse: together they drop it"),
    (f"effect: permit, purpose: {THIRD}, channels: ads, {GRANTED}, fields: {{user.contact.email: mask}}",
     "warning", "differ on user.contact.email: together they drop it"),
    # "*" drops, of a permit, nothing that is sensitive: it never spoke of it, so it differs with nobody
    ("effect: limit, purpose: marketing.advertising, fields: {user.financial: mask}", None, ""),
    # what is missing, or reads as more than it is
    ("effect: forbid, purpose: analytics, destinations: {country_in: CN}", "warning", "about no destination"),
    ("effect: limit, purpose: analytics, destinations: {country_in: CN}, fields: {user.name: drop}",
     "warning", "about no destination"),
    ("effect: forbid, purpose: analytics, destinations: {type: fax}", "error", "the destination type 'fax'"),
    ("effect: forbid, purpose: analytics, jurisdictions: Mars", "error", "the jurisdiction 'Mars'"),
    (f"effect: permit, purpose: personalisation, inputs: '*', {GRANTED}",
     "error", '"*" never covers inputs'),
    (f"effect: permit, purpose: personalisation, fields: {{'*': mask}}, {GRANTED}",
     "warning", "also of fields declared later"),
    ("effect: permit, purpose: analytics, legal_basis: consent, require: {consent: granted, max_age_days: 9}",
     "warning", "valid for 390 days and counts for 9"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "severity", "message"), RULES, ids=[row[0][:60] for row in RULES])
def test_a_rule_that_cannot_do_what_it_says(
    folder: Path, rule: str, severity: str | None, message: str
) -> None:
    (folder / "rules" / "zz.yaml").write_text(f"# a new rule\n{{id: x, {rule}}}\n")
    about = [one for one in found(folder) if one.file == "rules/zz.yaml"]
    if severity is None:
        assert about == []
        return
    one = next(one for one in about if message in one.message)
    assert (one.severity, one.line) == (severity, 2)
    assert one.fix


def test_a_permit_that_a_forbid_always_overrides_names_both_places(folder: Path) -> None:
    (folder / "rules" / "zz.yaml").write_text("# one\n{id: never, effect: forbid, purpose: analytics}\n")
    about = [one for one in found(folder) if "never counts" in one.message]
    assert {one.message.split("'")[1] for one in about} == {"analytics-opt-in", "analytics-us"}
    assert all("never (rules/zz.yaml:2) always overrides it" in one.message for one in about)
    assert all((one.severity, one.file) == ("warning", "rules/service.yaml") for one in about)


def test_a_forbid_for_one_place_of_several_leaves_the_others(folder: Path) -> None:
    (folder / "rules" / "zz.yaml").write_text(
        "{id: never, effect: forbid, purpose: personalisation, jurisdictions: UK}"
    )
    assert not [one for one in found(folder) if "always overrides" in one.message]


def test_what_a_permit_names_in_vain_is_named(folder: Path) -> None:
    edit(
        folder,
        "rules/communications.yaml",
        "user.location.coarse]\n  require: {consent: granted, max_age_days: 365",
        "user.location.coarse, user.health]\n  require: {consent: granted, max_age_days: 365",
    )
    (one,) = found(folder)
    assert "'telephone-marketing' lists user.health under inputs in vain" in one.message
    assert "no-sensitive-data-in-marketing (rules/protection.yaml:" in one.message
    assert one.file == "rules/communications.yaml"


def test_a_child_purpose_is_not_permitted_under_a_parent_that_is_forbidden(folder: Path) -> None:
    (folder / "rules" / "zz.yaml").write_text("{id: never, effect: forbid, purpose: marketing.advertising}")
    about = {one.message.split("'")[1] for one in found(folder) if "never counts" in one.message}
    assert about == {
        "ads-first-party-opt-in", "ads-first-party-us", "ads-third-party-opt-in", "ads-third-party-us",
    }  # fmt: skip


PLAIN_EMAIL = "marketing.communications.email_plain"
COMMUNICATIONS = "rules/communications.yaml"
PERMIT = f"  purpose: {PLAIN_EMAIL}\n"
NAMED = f"variant: {PLAIN_EMAIL}"
BASIS = '    basis: {"*": consent}  # a yes of its own'
SOURCE = '      "*": "ePrivacy Directive Art. 13(1); PECR reg. 22; GDPR Art. 22; PIPL Art. 13(1), 24"\n'


def _reading(inputs: str) -> tuple[tuple[str, str, str], ...]:
    """Return the edit after which the variant's permit lists inputs."""
    return ((COMMUNICATIONS, PERMIT, f"{PERMIT}  inputs: [{inputs}]\n"),)


def _resting_on(basis: str) -> tuple[tuple[str, str, str], ...]:
    """Return the edits after which the variant rests on another basis in the US."""
    return (
        ("purposes.yaml", BASIS, BASIS.replace("}", f", US: {basis}}}")),
        ("purposes.yaml", SOURCE, f'{SOURCE}      US: "CAN-SPAM Act"\n'),
        (COMMUNICATIONS, PERMIT, f"{PERMIT}  jurisdictions: [EU, UK, US-CA, CN, other]\n"),
    )


@pytest.mark.parametrize(
    ("name", "edits", "severity", "message"),
    [
        (COMMUNICATIONS, _reading("user.demographic.language"), None, ""),
        (COMMUNICATIONS, _reading("user.demographic.language, user.behavior"),
         "warning", "chooses people by user.behavior"),
        *(("purposes.yaml", _resting_on(basis), "warning", f"would still get {PLAIN_EMAIL}")
          for basis in ("opt_out", "legitimate_interest", "contract", "legal_obligation")),
        ("purposes.yaml", (("purposes.yaml", NAMED, NAMED[:-1]),), "error", "did you mean"),
        ("purposes.yaml", (("purposes.yaml", NAMED, "variant: marketing.communications.sms"),),
         "error", "uses the same channels"),
        ("purposes.yaml", (("purposes.yaml", NAMED, "variant: marketing.communications.email"),),
         "error", "is another purpose"),
    ],
)  # fmt: skip
def test_a_variant_chooses_nobody_by_their_data(
    folder: Path, name: str, edits: tuple[tuple[str, str, str], ...], severity: str | None, message: str
) -> None:
    for where, old, new in edits:
        edit(folder, where, old, new)
    about = found(folder)
    if severity is None:
        assert about == []
        return
    one = next(one for one in about if message in f"{one.message}; {one.fix}")
    assert (one.severity, one.file) == (severity, name)
    assert one.line


# file, what is there, what stands there instead, what is said
DOUBTS = [
    ("destinations/mailer.yaml", "contract: DPA-2025-014", 'contract: " "', "without a contract"),
    ("purposes.yaml", "  personalisation:\n",
     "  idle: {name: i, description: i, basis: {'*': consent}, source: {'*': GDPR}}\n  personalisation:\n",
     "nothing may be done for idle"),
    ("destinations/mailer.yaml", "contract_expires: 2030-12-31", "contract_expires: 2026-11-21",
     "expired on 2026-11-21"),
    ("destinations/adnet.yaml", "transfer_tool: standard contractual clauses 2021/914, module 1",
     "transfer_tool: none", "has no transfer tool"),
    ("destinations/crm.yaml", "purposes: [marketing.communications.phone, personalisation]",
     "purposes: [marketing.communications.phone, personalisation, analytics]", "nobody at all can be"),
    ("fields.yaml", "  life_stage: {category: user.inferred.life_stage, basis", "  life_stage: {basis",
     "has no category, so it counts as sensitive"),
    ("fields.yaml", "  avatar: {category: user.content.self_image}",
     "  avatar: {category: user.content.self_image, protection: clear}", "no segment may read"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "message"), DOUBTS, ids=[row[3] for row in DOUBTS])
def test_a_doubt_is_a_warning_at_its_line(folder: Path, name: str, old: str, new: str, message: str) -> None:
    line = edit(folder, name, old, new)
    (one,) = found(folder)
    assert message in one.message
    assert (one.severity, one.file, one.line) == ("warning", name, line)
    assert load(folder)


# file, what is there, what stands there instead, what the error says
MISTAKES = [
    ("taxonomy.yaml", "conclusion that nobody classified, sensitive: true}",
     "conclusion that nobody classified}", "must be there and sensitive"),
    ("fields.yaml", 'protection: clear, basis: "Revenue', 'protection: sealed+index, basis: "Revenue',
     "only an identifier has an index"),
    ("fields.yaml", "  likely_pregnant: {category: user.inferred.health, type: boolean,",
     "  likely_pregnant: {category: user.inferred.health, protection: clear, type: boolean,",
     "cannot be clear"),
    ("fields.yaml", "  income_band: {category", "  income_band: {protection: clear, categroy",
     "did you mean 'category'?"),
    ("fields.yaml", "  income_band: {category: user.inferred.solvency,",
     "  gender: {category: user.inferred.solvency,", "is a trait already"),
    ("fields.yaml", "by: age_band}", "by: country}", "is not declared"),
    ("fields.yaml", "into: age_band,", "into: age,", "stays clear of a sealed trait"),
    ("fields.yaml", "  rating: {", "  rating: {place: state, ", "only traits are places"),
    ("jurisdictions.yaml", "      US: {CA: [California, Calif., Cal.]}", "      US: {TX: California}",
     "is a place of"),
    ("jurisdictions.yaml", "    states:\n      US: {CA: [California, Calif., Cal.]}\n", "",
     "nobody could ever fall under it"),
    ("jurisdictions.yaml", "      US: {CA: [California", "      BR: {CA: [California", "the country 'BR'"),
    ("purposes.yaml", "- id: analytics\n        version: 1", "- id: analytics\n        version: 2",
     "has a gap before it"),
    ("purposes.yaml", "          en: We measure", "          fr: We measure", "the text in 'en' is missing"),
    ("purposes.yaml", "          en: We measure how our service is used to improve it.", "          en: ''",
     "a text is empty"),
    ("retention.yaml", "  - id: ip-addresses", "  - id: conclusions", "another period with the id"),
    ("retention.yaml", "categories: [user.device.ip_address]", "categories: [user.device.ip_adress]",
     "did you mean 'user.device.ip_address'?"),
    ("rights.yaml", '  portability:\n    "*": {months: 1,', "  portability:\n    EU: {months: 1,",
     "portability has no deadline in UK"),
    ("rights.yaml", 'US-CA: {days: 15, working_days: true, source: "CCPA 1798.120;',
     'US-CA: {days: 15, months: 1, source: "CCPA 1798.120;', "in days or in months"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "message"), MISTAKES, ids=[row[3] for row in MISTAKES])
def test_a_mistake_is_an_error_in_its_file(folder: Path, name: str, old: str, new: str, message: str) -> None:
    edit(folder, name, old, new)
    errors = found(folder)
    assert any(message in f"{one.message}; {one.fix}" for one in errors), errors
    assert {(one.severity, one.file) for one in errors} == {("error", name)}
    assert all(one.line for one in errors)


def test_a_permit_on_the_word_of_people_who_were_never_told(folder: Path) -> None:
    text = (folder / "purposes.yaml").read_text(encoding="utf-8")
    start = text.index("    notices:\n      - id: email-plain")
    edit(folder, "purposes.yaml", text[start : text.index("  marketing.communications.sms:")], "")
    rules = (folder / COMMUNICATIONS).read_text(encoding="utf-8")
    start = rules.index(PERMIT)
    permit = rules[start : rules.index("- id:", start)]
    edit(folder, COMMUNICATIONS, permit, permit.replace(", notice_current: true", ""))
    (one,) = found(folder)
    assert "'email-plain' rests on consent, and" in one.message
    assert (one.severity, one.file) == ("warning", COMMUNICATIONS)
    assert one.line
