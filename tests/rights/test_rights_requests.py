"""Requests of people: opened, listed and read by officers, over REST, GraphQL and the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from caller import Caller

from cdp.cli import main
from cdp.clock import SECOND, FixedClock

ROOT = Path(__file__).parents[2]
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
    assert ada.api("GET", f"/rights/requests/{made['id']}") == made
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
    opening = """mutation($v: RightsRequestInput!) {
        openRightsRequest(input: $v) {id kind state since channel profile openedAt dueAt}}"""
    made = graphql(ada, opening, v=BODY)["data"]["openRightsRequest"]
    shown = ada.api("GET", f"/rights/requests/{made['id']}")
    renamed = {"opened_at": "openedAt", "due_at": "dueAt"}
    assert made == {renamed.get(name, name): value for name, value in shown.items()}
    listing = """query($f: RightsRequestFilter) {
        rightsRequests(filter: $f) {edges {node {id}} pageInfo {hasNextPage}}}"""
    found = graphql(ada, listing)["data"]["rightsRequests"]
    assert found == {"edges": [{"node": {"id": made["id"]}}], "pageInfo": {"hasNextPage": False}}
    assert graphql(ada, listing, f={"state": "denied"})["data"]["rightsRequests"]["edges"] == []
    wrong = graphql(ada, opening, v={**BODY, "kind": "everything"})
    assert wrong["errors"][0]["extensions"]["code"] == "invalid-input"


def test_the_command_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDP_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("CDP_POLICIES_DIR", str(ROOT / "policies"))
    for arguments in (["init"], ["rights", "list", "--json"]):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["cdp", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
    assert msgspec.json.decode(capsys.readouterr().out) == []
