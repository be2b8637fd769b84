"""The policies' own tests (``policies/tests/*.yaml``), case by case, and the runner that reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cdp.clock import micros
from cdp.gate import judge_case, run_policy_tests
from cdp.policy import Bundle, Case, Finding, load, read_cases, read_tests

SHIPPED = Path(__file__).parents[2] / "policies"
BUNDLE = load(SHIPPED)
NOW = micros(datetime(2026, 11, 22, tzinfo=UTC))
CASES = [case for name, content in read_tests(SHIPPED).items() for case in read_cases(name, content, BUNDLE)]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.file}:{case.line}" for case in CASES])
def test_the_policies_decide_as_expected(case: Case) -> None:
    assert list(judge_case(BUNDLE, case, NOW)) == []


def test_the_set_is_broad_and_names_no_case_twice() -> None:
    assert len(CASES) >= 60
    assert len({(case.file, case.name) for case in CASES}) == len(CASES)
    permits = {case.purpose for case in CASES if case.reason == "permitted"}
    assert permits == {key for one in BUNDLE.destinations.values() for key in one.purposes}
    places = {place for case in CASES for place in BUNDLE.jurisdictions.recorded(case.countries, case.states)}
    assert places == BUNDLE.jurisdictions.configured


def run(text: str, bundle: Bundle = BUNDLE) -> list[Finding]:
    return run_policy_tests(bundle, {"tests/mine.yaml": text.encode()}, NOW)[1]


ASKED = "destination: mailer, purpose: marketing.communications.email"
TWO = f"{ASKED}, fields: [email, first_name]"
YES = "facts: {countries: Germany, consent: {state: granted}}"


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (f"{ASKED}, {YES}, expect: {{decision: deny, reason: no_consent}}",
         "mine: expected no_consent, decided permitted"),
        (f"{ASKED}, expect: {{decision: permit}}", "mine: expected permitted, decided no_consent"),
        (f"{TWO}, {YES}, expect: {{decision: permit, fields: {{email: mask}}}}",
         "mine: other fields leave than expected (email: clear, first_name: clear)"),
    ],
)  # fmt: skip
def test_a_broken_expectation_names_file_line_and_what_was_decided(case: str, message: str) -> None:
    (finding,) = run(f"# a case\n- {{name: mine, {case}}}\n")
    assert (finding.severity, finding.file, finding.line) == ("error", "tests/mine.yaml", 2)
    assert finding.message == message
    assert finding.fix


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("destination: maler, purpose: analytics, expect: {decision: permit}", "the destination 'maler'"),
        ("destination: mailer, purpose: analytcs, expect: {decision: permit}", "the purpose 'analytcs'"),
        (f"{ASKED}, inputs: user.helth, expect: {{decision: permit}}", "the category 'user.helth'"),
        (f"{ASKED}, fields: emial, expect: {{decision: permit}}", "the field 'emial'"),
        (f"{ASKED}, expect: {{decision: deny}}", "names its reason"),
        (f"{ASKED}, expect: {{decision: permit, reason: stale}}", "names its reason"),
        (f"{ASKED}, expect: {{decision: perhaps}}", "is not one of"),
        (f"{ASKED}, facts: {{consent: {{state: maybe}}}}, expect: {{decision: permit}}", "is not one of"),
        (f"{ASKED}, expect: {{decision: permit, fields: {{email: lower}}}}", "no transform 'lower'"),
    ],
)
def test_a_case_that_makes_no_sense_is_refused_at_its_line(case: str, message: str) -> None:
    (finding,) = run(f"# a case\n- {{name: mine, {case}}}\n")
    assert message in finding.message
    assert (finding.severity, finding.line) == ("error", 2)


def test_a_change_of_a_rule_breaks_a_case(tmp_path: Path) -> None:
    """Whoever lets hashed telephone numbers go to third parties hears of it."""
    for path in SHIPPED.rglob("*.yaml"):
        copy = tmp_path / path.relative_to(SHIPPED)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    rules = tmp_path / "rules" / "advertising.yaml"
    head, third = rules.read_text().split("- id: ads-third-party-opt-in")
    third = third.replace(
        "user.contact.email: hash\n", "user.contact.email: hash\n    user.contact.phone_number: hash\n"
    )
    rules.write_text(head + "- id: ads-third-party-opt-in" + third)
    ran, findings = run_policy_tests(load(tmp_path), read_tests(tmp_path), NOW)
    assert ran == len(CASES)
    assert {finding.file for finding in findings} == {"tests/european_union.yaml", "tests/california.yaml"}
    assert all("phone: hash" in finding.message for finding in findings)
