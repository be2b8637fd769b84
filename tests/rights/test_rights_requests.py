"""Requests of people: opened, listed and read by officers, over REST, GraphQL and the command line."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from caller import Caller
from platform_fixtures import Shell

from cdp.clock import SECOND, FixedClock

BODY = {"identifier": {"type": "email", "value": "ada.lovelace@example.org"}, "kind": "access"}


@pytest.fixture
def ada(caller: Caller) -> Caller:
    """A platform that knows one person."""
    traits = {"email": "ada.lovelace@example.org"}
    caller.send({"type": "identify", "messageId": "m1", "userId": "ada", "traits": traits})
    return caller


def graphql(caller: Caller, query: str, **variables: object) -> Any:
    answer = caller.http.post(
        "/graphql",
        content=msgspec.json.encode({"query": query, "variables": variables}),
        headers={"Authorization": f"Bearer {caller.operator_key}"},
    )
    return answer.json()


def test_a_request_is_opened_once_and_listed_newest_first(ada: Caller, clock: FixedClock) -> None:
    made = ada.api("POST", "/rights/requests", BODY)
    assert (made["kind"], made["state"], made["channel"]) == ("access", "in_progress", "officer")
    assert made["opened_at"] == "2026-03-01T12:00:00Z"
    assert "2026-03-15" < made["due_at"] <= "2026-04-01T12:00:00Z"
    assert ada.api("GET", f"/rights/requests/{made['id']}").items() >= made.items()
    clock.advance(SECOND)
    assert ada.api("POST", "/rights/requests", BODY) == made
    other = ada.api("POST", "/rights/requests", {**BODY, "kind": "erasure"})
    first = ada.api("GET", "/rights/requests?limit=1")
    assert [item["id"] for item in first["items"]] == [other["id"]]
    rest = ada.api("GET", f"/rights/requests?limit=1&cursor={first['next']}")
    assert ([item["id"] for item in rest["items"]], rest["next"]) == ([made["id"]], None)


def test_opening_and_reading_are_on_record_about_the_person(ada: Caller) -> None:
    made = ada.api("POST", "/rights/requests", BODY)
    ada.api("GET", f"/rights/requests/{made['id']}")
    ada.api("GET", "/rights/requests")
    profile = ada.lookup("user_id", "ada")["id"]
    uses = ada.api("GET", f"/profiles/{profile}/uses?limit=100", purpose="compliance_review")["items"]
    assert {"rights.open", "rights.read", "rights.list"} <= {use["action"] for use in uses}
    assert {use["purpose"] for use in uses if use["action"].startswith("rights.")} == {"rights"}


def test_what_is_wrong_is_refused(ada: Caller) -> None:
    nobody = {"identifier": {"type": "email", "value": "nobody@example.org"}, "kind": "access"}
    ada.api("POST", "/rights/requests", nobody, expect=404)
    ada.api("POST", "/rights/requests", {**BODY, "kind": "everything"}, expect=400)
    ada.api("POST", "/rights/requests", {**BODY, "identifier": {"type": "nope", "value": "x"}}, expect=400)
    ada.api("GET", "/rights/requests/r_unknown", expect=404)
    ada.api("GET", "/rights/requests?cursor=nonsense", expect=400)
    officer = {"name": "o", "roles": ["officer"], "purposes": ["compliance_review"]}
    key = ada.api("POST", "/keys", officer)["key"]
    ada.api("GET", "/rights/requests", key=key, expect=403)
    ada.api("POST", "/rights/requests", BODY, key=key, expect=403)


def test_graphql_says_the_same(ada: Caller) -> None:
    fields = """id kind state since channel known profile purpose regulation externalId openedAt submittedAt
        acknowledgeBy dueAt extended due reminder reason result"""
    opening = f"mutation($v: RightsRequestInput!) {{openRightsRequest(input: $v) {{{fields}}}}}"
    rectify = {**BODY, "kind": "rectification"}
    made = graphql(ada, opening, v=rectify)["data"]["openRightsRequest"]
    (shown,) = ada.api("GET", "/rights/requests")["items"]
    renamed = {
        name: name.split("_")[0] + name.title().replace("_", "")[len(name.split("_")[0]) :] for name in shown
    }
    assert made == {renamed[name]: value for name, value in shown.items()}
    listing = """query($f: RightsRequestFilter) {
        rightsRequests(filter: $f) {edges {node {id}} pageInfo {hasNextPage}}}"""
    found = graphql(ada, listing)["data"]["rightsRequests"]
    assert found == {"edges": [{"node": {"id": made["id"]}}], "pageInfo": {"hasNextPage": False}}
    for given, many in (({"state": "denied"}, 0), ({"kind": "rectification", "due": "ok"}, 1)):
        assert len(graphql(ada, listing, f=given)["data"]["rightsRequests"]["edges"]) == many
    for mutation, values in (
        (opening, {"v": {**BODY, "kind": "everything"}}),
        (listing, {"f": {"due": "never"}}),
        (listing, {"f": {"state": "lost"}}),
    ):
        wrong = graphql(ada, mutation, **values)
        assert wrong["errors"][0]["extensions"]["code"] == "invalid-input"
    unchecked = graphql(ada, opening, v={**rectify, "verified": False})["data"]["openRightsRequest"]
    assert unchecked["state"] == "identity_check"


def test_the_commands(shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def asks(*arguments: str, value: str = "nobody@example.org", expect: int = 0) -> Any:
        monkeypatch.setattr(sys, "stdin", io.StringIO(value + "\n"))
        printed = shell("rights", *arguments, *([] if expect else ["--json"]), expect=expect)
        return printed if expect else msgspec.json.decode(printed)

    assert asks("list") == []
    denied = asks("object", "email", "--unverified")
    assert (denied["kind"], denied["state"], denied["known"]) == ("objection", "identity_check", False)
    made = asks("rectify", "email", "--unverified")
    (listed,) = asks("list", "--state", "identity_check", "--kind", "rectification")
    assert listed["id"] == made["id"]
    assert asks("extend", made["id"], "--reason", "complexity", expect=1).endswith("allows no extension")
    assert asks("verify", made["id"], "--method", "document")["state"] == "in_progress"
    assert asks("complete", made["id"])["state"] == "fulfilled"
    assert len(asks("show", made["id"])["steps"]) == 4
    assert asks("deny", denied["id"], "--reason", "unfounded")["reason"] == "unfounded"
    assert "nobody has this identifier" in asks("access", "email", expect=1)
    assert "standard input" in asks("access", "email", value="", expect=1)
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[]", encoding="ascii")
    assert "JSON object" in asks("correct", made["id"], str(wrong), expect=1)
    assert "restrains nobody" in asks("lift", made["id"], "--told-at", "2026-01-01", expect=1)
