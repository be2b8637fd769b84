"""Exact numbers of people and one person's decision are for officers, by REST and GraphQL.

The command line is a client of REST; ``tests/cli/test_cli_policy.py`` has its refusals.
"""

from __future__ import annotations

from typing import Any

from caller import Caller

OTHERS = ("marketer", "steward", "admin", "destination", "source")
ROUTES: tuple[tuple[str, str, object], ...] = (
    ("GET", "/policies", None),
    ("GET", "/policies/suggestions", None),
    ("POST", "/policies/check", {}),
    ("POST", "/policies/diff", {}),
    ("POST", "/policies/activate", {}),
    ("POST", "/policies/activate", {"approve": "x"}),
    ("POST", "/policies/reject", {"proposal": "x"}),
    ("POST", "/policies/explain", {"profile": "p", "destination": "mailer", "purpose": "analytics"}),
    ("POST", "/destinations/mailer/switch", {"enabled": False, "reason": "x"}),
)
FIELDS = (
    "{policies}",
    "{suggestFields}",
    "{checkPolicies}",
    "{diffPolicies}",
    '{explainDecision(input: {profileId: "p", destination: "mailer", purpose: "analytics"}) {outcome}}',
    "mutation {proposePolicies}",
    'mutation {approvePolicies(proposal: "x")}',
    'mutation {rejectPolicies(proposal: "x")}',
    'mutation {switchDestination(destination: "crm", enabled: false, reason: "x")}',
)


def key_of(caller: Caller, role: str) -> str:
    """Return a key that holds one role, and every purpose."""
    if role == "source":
        return caller.write_key()
    if role == "destination":
        return caller.destination_key("mailer")
    return caller.officer(f"only-{role}", roles=(role,))


def test_rest_refuses_all_but_officers(caller: Caller) -> None:
    for role in OTHERS:
        key, expected = key_of(caller, role), 403
        for method, path, body in ROUTES:
            headers = {"Authorization": f"Bearer {key}", "CDP-Purpose": "compliance_review"}
            answer = caller.http.request(method, f"/api/v1{path}", headers=headers, json=body)
            assert answer.status_code == expected, (role, path)
            assert not {"flows", "changes", "decision", "sha256"} & answer.json().keys()
    assert caller.api("GET", "/audit?action=policy.diff")["items"] == []


def test_every_route_of_policies_names_officers_alone(caller: Caller) -> None:
    """A route that is added is held to the same; so is one that this file forgets."""
    shown = caller.http.get("/schema/openapi.json").json()["paths"]
    there = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, methods in shown.items()
        if "/policies" in path
        for method in methods
    }
    assert there == {(method, path) for method, path, _ in ROUTES if "/policies" in path}


def test_graphql_refuses_all_but_officers(caller: Caller) -> None:
    for role in OTHERS:
        headers = {"Authorization": f"Bearer {key_of(caller, role)}", "CDP-Purpose": "compliance_review"}
        for query in FIELDS:
            answer = caller.http.post("/graphql", json={"query": query}, headers=headers)
            said: dict[str, Any] = answer.json()
            if role == "source":
                assert answer.status_code == 401 or said["errors"][0]["extensions"]["code"] == "not-permitted"
            else:
                assert said["errors"][0]["extensions"]["code"] == "not-permitted", (role, query)
            assert not any((said.get("data") or {}).values()), (role, query)
