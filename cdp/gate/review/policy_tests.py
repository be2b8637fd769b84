"""Policy tests as data: what a bundle is expected to decide, case by case. Pure.

A case (``policies/tests/*.yaml``, shape in ``cdp/policy/shapes.py``) describes a person by the facts that
the gate reads of a real one, and is decided by the same ``barred``, ``bind`` and ``decide``. Consent is
what is on record about the case's own purpose; nothing else is invented: what a case does not say is not
known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cdp.clock import DAY, Micros, day
from cdp.consent import RESTRAINING, Standing, Standings
from cdp.errors import CdpError, PolicyError
from cdp.gate.admit import barred
from cdp.gate.bind import bind
from cdp.gate.decide import decide
from cdp.gate.facts import holding, positive
from cdp.gate.model import DROP, RESTRAINTS, Decision, Facts, Terms, Truth
from cdp.policy import Bundle, Case, Destination, Finding, Purpose, Transform, build, check, read_cases

_PERSON = 1


class Outcome(NamedTuple):
    """What was decided of one case."""

    reason: str
    fields: dict[str, Transform]


class Checked(NamedTuple):
    """What a check of a candidate has to say.

    :param bundle: None when there is an error that keeps it from being read.
    :param tests: how many cases were decided.
    """

    bundle: Bundle | None
    tests: int
    findings: list[Finding]


def check_candidate(files: Mapping[str, bytes], tests: Mapping[str, bytes], now: Micros) -> Checked:
    """Check policy files and, when they can be read, decide their tests.

    :param tests: the test files by name, as ``policy.read_tests`` returns.
    """
    findings = check(files, day(now))
    if any(finding.severity == "error" for finding in findings):
        return Checked(None, 0, findings)
    bundle = build(files)
    ran, failed = run_policy_tests(bundle, tests, now)
    return Checked(bundle, ran, failed + findings)


def run_policy_tests(bundle: Bundle, files: Mapping[str, bytes], now: Micros) -> tuple[int, list[Finding]]:
    """Decide every case; returns how many there are, and what came out otherwise than expected.

    :param files: the test files by name, as ``policy.read_tests`` returns.
    :param now: the instant at which contracts and ages are reckoned.
    """
    ran, findings = 0, []
    for name, content in sorted(files.items()):
        try:
            cases = read_cases(name, content, bundle)
        except PolicyError as error:
            findings.append(Finding.of(error))
            continue
        ran += len(cases)
        findings += [found for case in cases for found in judge_case(bundle, case, now)]
    return ran, findings


def judge_case(bundle: Bundle, case: Case, now: Micros) -> Iterator[Finding]:
    """Yield in what a case came out otherwise than expected."""
    try:
        outcome = decide_case(bundle, case, now)
    except CdpError as error:
        yield _failed(case, error.message, "name declared fields only")
        return
    if outcome.reason != case.reason:
        yield _failed(
            case,
            f"expected {case.reason}, decided {outcome.reason}",
            "change the rules, or what is expected of them",
        )
    elif case.fields is not None and outcome.fields != case.fields:
        different = sorted(
            name
            for name in {*outcome.fields, *case.fields}
            if outcome.fields.get(name, DROP) != case.fields.get(name, DROP)
        )
        shown = ", ".join(f"{name}: {_shown(outcome.fields.get(name, DROP))}" for name in different)
        yield _failed(case, f"other fields leave than expected ({shown})", "list every field that leaves")


def _failed(case: Case, message: str, fix: str) -> Finding:
    return Finding(
        severity="error", file=case.file, line=case.line, message=f"{case.name}: {message}", fix=fix
    )


def _shown(transform: Transform) -> str:
    return f"{transform.kind} {transform.argument}".strip()


def decide_case(bundle: Bundle, case: Case, now: Micros) -> Outcome:
    """Return what is decided of a case.

    :raises InvalidInputError: it asks for a field that is not declared.
    """
    destination, purpose = bundle.destinations[case.destination], bundle.purposes[case.purpose]
    refusal = barred(destination, purpose, now)
    if refusal is not None:
        return Outcome(refusal.reason, {})
    terms = bind(bundle, destination, purpose, case.inputs, case.asked)
    decision = decide(terms, facts_of(bundle, case, terms, destination, purpose, now))
    return Outcome(decision.reason, _leaving(terms, decision))


def facts_of(
    bundle: Bundle, case: Case, terms: Terms, destination: Destination, purpose: Purpose, now: Micros
) -> Facts:
    """Return the facts of a case, as ``FactReader`` returns those of a person."""
    said = case.consent
    standing = Standing(
        purpose=purpose.key,
        state="missing" if said.state == "none" else said.state,
        reason=said.state,
        granted_at=now - said.age_days * DAY,
        event_type="separate" if said.separate else "explicit",
        notice_current=said.state == "granted" and said.notice_current,
        recipients=said.recipients,
        notice_given=now if case.notice == "current" else None,
    )
    restraints = set(case.restraints)
    if purpose.restrainable and standing.state in RESTRAINING:
        restraints.add(standing.state)
    held = Standings.gather({_PERSON: standing})
    known = {
        condition: Truth.TRUE
        for condition in map(positive, terms.conditions())
        if (
            not case.minor
            if condition.kind == "not_minor"
            else said.confirmed and standing.state == "granted"
            if condition.kind == "double_opt_in"
            else _PERSON in holding(condition, held, destination, now)
        )
    }
    return Facts(
        places=bundle.jurisdictions.recorded(case.countries, case.states) or None,
        restraints=frozenset(restraints) & frozenset(RESTRAINTS),
        known=known,
        stale=standing.state == "stale",
    )


def _leaving(terms: Terms, decision: Decision) -> dict[str, Transform]:
    """Return the fields that leave, by name; none when nobody does."""
    if not decision.allowed:
        return {}
    return {name: word for name, word in zip(terms.fields, decision.plan, strict=True) if word != DROP}
