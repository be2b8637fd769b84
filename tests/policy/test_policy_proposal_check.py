"""A proposal shows what a check of the candidate finds, and which values change; the officers decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from caller import Caller

from cdp.policy import load, read_folder, read_tests

POLICIES = Path(__file__).parents[2] / "policies"
RULES = "rules/communications.yaml"


@pytest.fixture
def candidate() -> dict[str, Any]:
    """A candidate, with its tests, that keeps grants of half the age."""
    files = {name: content.decode() for name, content in read_folder(POLICIES).items()}
    assert "max_age_days: 730" in files[RULES]
    files[RULES] = files[RULES].replace("max_age_days: 730", "max_age_days: 1", 1)
    mailer = "destinations/mailer.yaml"
    files[mailer] = files[mailer].replace("minimum_audience: ", "minimum_audience: 1", 1)
    tests = {name: content.decode() for name, content in read_tests(POLICIES).items()}
    return {"files": files, "tests": tests}


def test_failing_tests_are_shown_and_recorded_and_keep_nobody_from_deciding(
    caller: Caller, candidate: dict[str, Any]
) -> None:
    first, second = caller.officer("first"), caller.officer("second")
    checked = caller.api("POST", "/policies/check", candidate, key=first)
    assert checked["tests"] > 0
    assert checked["failed"] == len([f for f in checked["findings"] if f["severity"] == "error"]) > 0
    compared = caller.api("POST", "/policies/diff", candidate, key=first)
    made = caller.api("POST", "/policies/activate", candidate, key=first)
    assert compared["check"] == made["difference"]["check"] == checked
    [open_one] = caller.api("GET", "/policies", key=second)["proposals"]
    assert (open_one["failed"], open_one["difference"]["check"]) == (checked["failed"], checked)
    done = caller.api("POST", "/policies/activate", {"approve": made["proposal"]["id"]}, key=second)
    assert done["activated"]["failed"] == checked["failed"]
    for action in ("policy.propose", "policy.activate"):
        entry = caller.api("GET", f"/audit?action={action}")["items"][0]
        assert entry["counts"]["failed"] == checked["failed"], action


def test_tests_that_are_not_sent_are_not_run_and_that_is_said(
    caller: Caller, candidate: dict[str, Any]
) -> None:
    first = caller.officer("first")
    made = caller.api("POST", "/policies/activate", {"files": candidate["files"]}, key=first)
    assert made["difference"]["check"]["tests"] == 0
    wrong = {"approve": made["proposal"]["id"], "tests": candidate["tests"]}
    caller.api("POST", "/policies/activate", wrong, key=first, expect=400)


def test_a_difference_names_what_values_were_and_are(caller: Caller, candidate: dict[str, Any]) -> None:
    changes = caller.api("POST", "/policies/diff", candidate, key=caller.officer("first"))["changes"]
    values = {
        (change["name"], value["attribute"]): (value["before"], value["after"])
        for change in changes
        for value in change["values"]
    }
    held = load(POLICIES).destinations["mailer"].minimum_audience
    assert values["mailer", "minimum_audience"] == (str(held), f"1{held}")
    assert ("730", "1") in [pair for (_, name), pair in values.items() if name.endswith("max_age_days")]


def test_every_value_of_a_bundle_can_be_shown() -> None:
    """One that cannot be written as JSON would keep a candidate from being looked at."""
    bundle = load(POLICIES)
    for name in bundle.__struct_fields__:
        assert msgspec.json.encode(getattr(bundle, name), order="deterministic")
