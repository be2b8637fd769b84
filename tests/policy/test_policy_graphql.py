"""GraphQL has the officer's verbs on policies, with the answers, roles and refusals of REST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from caller import Caller

from cdp.policy import read_folder, read_tests

POLICIES = Path(__file__).parents[2] / "policies"


def run(caller: Caller, query: str, *, key: str = "", **variables: Any) -> Any:
    headers = {"Authorization": f"Bearer {key or caller.operator_key}"}
    body = {"query": query, "variables": variables}
    answer = caller.http.post("/graphql", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ask(caller: Caller, query: str, *, key: str = "", **variables: Any) -> Any:
    answer = run(caller, query, key=key, **variables)
    assert "errors" not in answer, answer["errors"]
    (found,) = answer["data"].values()
    return found


def texts(old: str = "", new: str = "") -> dict[str, str]:
    found = {name: content.decode() for name, content in read_folder(POLICIES).items()}
    assert old in found["destinations/mailer.yaml"]
    found["destinations/mailer.yaml"] = found["destinations/mailer.yaml"].replace(old, new, 1)
    return found


def test_graphql_and_rest_answer_alike(caller: Caller) -> None:
    off = texts("enabled: true", "enabled: false")
    wrong = texts("minimum_audience:", "minimum_audiense:")
    assert ask(caller, "{policies}") == caller.api("GET", "/policies")
    assert ask(caller, "{suggestFields}") == caller.api("GET", "/policies/suggestions")
    for query, path, files in (
        ("query($f: JSON) {diffPolicies(files: $f)}", "/policies/diff", off),
        ("query($f: JSON) {checkPolicies(files: $f)}", "/policies/check", off),
        ("query($f: JSON) {checkPolicies(files: $f)}", "/policies/check", wrong),
    ):
        assert ask(caller, query, f=files) == caller.api("POST", path, {"files": files})
    (mistake,) = ask(caller, "query($f: JSON) {checkPolicies(files: $f)}", f=wrong)["findings"]
    assert (mistake["file"], mistake["severity"]) == ("destinations/mailer.yaml", "error")
    assert mistake["line"]


def test_a_check_runs_the_tests_that_come_with_it(caller: Caller) -> None:
    own = caller.api("POST", "/policies/check")
    assert own["bundle"] == caller.api("GET", "/policies")["sha256"]
    cases = {name: content.decode() for name, content in read_tests(POLICIES).items()}
    off = texts("enabled: true", "enabled: false")
    found = caller.api("POST", "/policies/check", {"files": off, "tests": cases})
    assert found["tests"] == own["tests"] > 0
    assert any("decided destination_off" in one["message"] for one in found["findings"])
    assert caller.api("POST", "/policies/check", {"files": off})["tests"] == 0


def test_proposing_approving_rejecting_and_switching_by_graphql(caller: Caller) -> None:
    first, second = caller.officer("first"), caller.officer("second")
    propose = "mutation($f: JSON) {proposePolicies(files: $f)}"
    approve = "mutation($p: String!) {approvePolicies(proposal: $p)}"
    one = ask(caller, propose, key=first, f=texts("enabled: true", "enabled: false"))
    assert one["difference"]["changes"][0]["name"] == "mailer"
    named = one["proposal"]["id"]
    assert ask(
        caller, "mutation($p: String!) {rejectPolicies(proposal: $p)}", key=second, p=named
    )["id"] == named  # fmt: skip
    again = ask(caller, propose, key=first, f=texts("enabled: true", "enabled: false"))["proposal"]
    refused = run(caller, approve, key=first, p=again["id"])["errors"][0]
    assert (refused["extensions"]["status"], "second officer" in refused["message"]) == (409, True)
    assert ask(caller, approve, key=second, p=again["sha256"])["sha256"] == again["sha256"]
    assert ask(caller, "{policies}")["sha256"] == again["sha256"]
    off = 'mutation {switchDestination(destination: "crm", enabled: false, reason: "test")}'
    assert ask(caller, off)["enabled"] is False
    wrong = run(caller, propose, key=first, f=["no", "files"])["errors"][0]
    assert wrong["extensions"]["code"] == "invalid-input"
