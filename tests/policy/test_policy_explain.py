"""An explanation as an officer reads it, and what it offers instead of what was denied."""

from __future__ import annotations

import pytest
from caller import Caller
from test_policy_review import EMAIL, PLAIN, explain, exported, germans, preference

from cdp.cli.policy_explain import REASONS, told
from cdp.gate.model import RESTRAINTS


@pytest.fixture
def people(caller: Caller) -> Caller:
    """Twelve plainly fictional Germans."""
    return germans(caller)


def test_who_refused_is_told_of_the_variant_that_is_permitted(people: Caller) -> None:
    """PIPL 24, GDPR 22: the same without a choice by the person's data, which they agreed to."""
    variant = f"{EMAIL}_plain"
    people.send(preference("ann", agreed=False, number=2))
    assert explain(people, "ann", **PLAIN)["instead"] is None
    identifiers = [{"type": "user_id", "value": "ann"}]
    people.api("POST", "/consents", {"identifiers": identifiers, "purpose": variant, "state": "granted"})
    found = explain(people, "ann", **PLAIN)
    assert (found["outcome"], found["instead"]) == ("denied", variant)
    assert explain(people, "ann", **PLAIN | {"purpose": variant})["outcome"] == "permitted"
    assert any(variant in line for line in told(found))


def test_an_explanation_reads_as_sentences(people: Caller) -> None:
    export = exported(people)["id"]
    lines = list(told(explain(people, "ann", export=export)))
    assert lines[0] == "permitted: every law that applies permits it (permitted)"
    text = "\n".join(lines)
    for part in (
        f"to mailer for {EMAIL}, segment germans",
        "on record: the export released this person; the manifest proves it\n  fetched: never",
        "EU (controller)",
        "consent: granted since",
        "permit email-marketing-opt-in\n    EU: TRUE",
        "  email: clear (",
        "not reproduced: erased facts missing",
    ):
        assert part in text, (part, text)
    silent = list(told(explain(people, "kim", **PLAIN)))
    assert silent[0] == "denied: there is no consent that is granted (no_consent)"
    codes = {"permitted", "forbidden", "not_permitted", "no_consent", "stale", *RESTRAINTS}
    assert codes <= REASONS.keys()
