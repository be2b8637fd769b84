"""What a key is refused, or shown in other words, on both stores; every refusal is on record."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller

MAIL = "marketing.communications.email"
REVIEW = "compliance_review"
WHERE = {"where": {"trait": "country", "op": "eq", "value": "GB"}}
DEEP_LIST = "[" * 100_000
DEEP_DEFINITION = '{"where": ' + '{"not": ' * 5_000 + '{"list": "x"}' + "}" * 5_001


def identify(user: str) -> dict[str, Any]:
    return {"type": "identify", "userId": user, "traits": {"country": "GB"}}


def consent(user: str, purpose: str, state: str) -> dict[str, Any]:
    return {"identifiers": [{"type": "user_id", "value": user}], "purpose": purpose, "state": state}


def graphql(caller: Caller, query: str, *, key: str = "", purpose: str = "", **variables: Any) -> Any:
    headers = {"Authorization": f"Bearer {key or caller.operator_key}", "CDP-Purpose": purpose}
    return caller.http.post("/graphql", json={"query": query, "variables": variables}, headers=headers).json()


def denied(caller: Caller, action: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = caller.api("GET", f"/audit?action={action}&outcome=denied")["items"]
    return found


# -- portraits --------------------------------------------------------------------------------------


def test_a_person_is_read_for_an_internal_purpose_only(caller: Caller) -> None:
    caller.send(identify("u1"))
    found = caller.lookup("user_id", "u1")["id"]
    body = {"type": "user_id", "value": "u1"}
    problem = caller.api("POST", "/profiles/lookup", body, purpose=MAIL, expect=403)
    assert "internal purpose" in problem["detail"]
    for path in ("", "/events", "/identifiers", "/links", "/uses"):
        caller.api("GET", f"/profiles/{found}{path}", purpose=MAIL, expect=403)
    caller.api("GET", f"/consents?profile={found}", purpose=MAIL, expect=403)
    listed = graphql(caller, "{profiles {totalCount}}", purpose=MAIL)
    assert listed["errors"][0]["extensions"]["code"] == "not-permitted"
    for action in ("lookup", "read", "events", "identifiers", "links", "uses", "consents", "list"):
        assert [entry["purpose"] for entry in denied(caller, f"profile.{action}")] == [MAIL], action


def test_who_is_restrained_for_a_purpose_is_not_read_for_it(caller: Caller) -> None:
    caller.send(identify("u1"), identify("u2"))
    found = caller.lookup("user_id", "u1")["id"]
    caller.api("POST", "/consents", consent("u1", REVIEW, "restricted"))
    problem = caller.api("GET", f"/profiles/{found}", purpose=REVIEW, expect=403)
    assert "restrained" in problem["detail"]
    body = {"type": "user_id", "value": "u1"}
    caller.api("POST", "/profiles/lookup", body, purpose=REVIEW, expect=403)
    caller.api("POST", "/profiles/lookup", {**body, "value": "u2"}, purpose=REVIEW)
    assert caller.lookup("user_id", "u1")["id"] == found, "another purpose is another question"
    about = caller.api("GET", f"/audit?profile={found}&outcome=denied")["items"]
    assert [(entry["action"], entry["purpose"]) for entry in about] == [
        ("profile.lookup", REVIEW),
        ("profile.read", REVIEW),
    ]


def test_rights_cannot_be_restrained(caller: Caller) -> None:
    caller.send(identify("u1"))
    found = caller.lookup("user_id", "u1")["id"]
    caller.api("POST", "/consents", consent("u1", "rights", "restricted"))
    assert caller.api("GET", f"/profiles/{found}", purpose="rights")["traits"]["country"] == "GB"


def test_a_list_leaves_out_who_is_restrained_and_still_continues(caller: Caller) -> None:
    caller.send(*(identify(f"u{n}") for n in range(6)), wait=True)
    caller.api("PUT", "/segments/britons", WHERE)
    people = {f"u{n}": caller.lookup("user_id", f"u{n}")["id"] for n in range(6)}
    for user in ("u0", "u2", "u3"):
        caller.api("POST", "/consents", consent(user, REVIEW, "objected"))
    query = """query($filter: ProfileFilter, $after: String) {
        profiles(first: 1, filter: $filter, after: $after) {
            totalCount edges {node {id}} pageInfo {hasNextPage endCursor}}}"""
    for chosen in (None, {"segment": "britons"}):
        found, after = [], None
        for _ in range(10):
            answer = graphql(caller, query, purpose=REVIEW, filter=chosen, after=after)
            page = answer["data"]["profiles"]
            assert page["totalCount"] == 3
            found += [edge["node"]["id"] for edge in page["edges"]]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        assert sorted(found) == sorted(people[user] for user in ("u1", "u4", "u5"))
    everybody = graphql(caller, "{profiles {totalCount}}", purpose="rights")
    assert everybody["data"]["profiles"]["totalCount"] == 6


# -- consents ---------------------------------------------------------------------------------------


def test_only_an_officer_restricts(caller: Caller) -> None:
    caller.send(identify("u1"))
    body, browser = consent("u1", MAIL, "restricted"), caller.write_key("browser")
    caller.api("POST", "/consents", body, key=browser, expect=403)
    caller.api("POST", "/consents", body, key=caller.write_key(), expect=403)
    record = "mutation($input: ConsentInput!) {recordConsent(input: $input) {purpose}}"
    refused = graphql(caller, record, key=browser, input=body)
    assert refused["errors"][0]["extensions"]["code"] == "not-permitted"
    found = caller.lookup("user_id", "u1")["id"]
    states = caller.api("GET", f"/consents?profile={found}&limit=500", purpose=REVIEW)["items"]
    assert "restricted" not in {item["state"] for item in states}
    assert len(denied(caller, "consent.record")) == 3
    assert caller.api("POST", "/consents", body)["state"] == "restricted"
    caller.api("POST", "/consents", consent("u1", MAIL, "withdrawn"), key=browser)


# -- bodies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/api/v1/profiles/lookup", DEEP_LIST),
        ("POST", "/api/v1/segments/preview", DEEP_DEFINITION),
        ("PUT", "/api/v1/segments/deep", DEEP_DEFINITION),
        ("POST", "/graphql", DEEP_LIST),
    ],
)
def test_a_body_nested_too_deeply_is_malformed_and_no_incident(
    caller: Caller, capsys: pytest.CaptureFixture[str], method: str, path: str, content: str
) -> None:
    headers = {"Authorization": f"Bearer {caller.operator_key}", "CDP-Purpose": REVIEW}
    answer = caller.http.request(method, path, headers=headers, content=content)
    assert answer.status_code == 400, answer.text
    assert answer.json()["type"] == "/problems/malformed-body"
    assert "nested too deeply" in answer.json()["detail"]
    logged = capsys.readouterr()
    assert "incident" not in logged.out + logged.err


# -- exports ----------------------------------------------------------------------------------------


def exported(caller: Caller) -> dict[str, Any]:
    caller.send(*(identify(f"u{n}") for n in range(3)), wait=True)
    for n in range(3):
        caller.api("POST", "/consents", consent(f"u{n}", MAIL, "granted"))
    caller.api("PUT", "/segments/lapsed-britons", WHERE)
    asked = {"segment": "lapsed-britons", "destination": "mailer", "purpose": MAIL}
    made: dict[str, Any] = caller.api("POST", "/exports", asked)
    return made


def test_a_refused_fetch_is_on_record(caller: Caller) -> None:
    made = exported(caller)
    caller.api("GET", f"/exports/{made['id']}/data", key=caller.destination_key("crm"), expect=404)
    caller.api("GET", "/exports/e_unheard_of/data", key=caller.destination_key("mailer", MAIL), expect=404)
    reasons = [entry["object"]["reason"] for entry in denied(caller, "export.fetch")]
    assert reasons == ["unknown_export", "other_destination"]


def test_a_destination_sees_an_opaque_id_in_place_of_the_segments_name(caller: Caller) -> None:
    made = exported(caller)
    assert made["segment"] == "lapsed-britons"
    key = caller.destination_key("mailer", MAIL)
    shown = caller.api("GET", f"/exports/{made['id']}", key=key)
    prefix, _, digits = shown["segment"].partition("_")
    assert (prefix, len(digits)) == ("s", 16)
    int(digits, 16)
    assert [item["segment"] for item in caller.api("GET", "/exports", key=key)["items"]] == [shown["segment"]]
    asked = {"segment": "lapsed-britons", "destination": "mailer", "purpose": MAIL}
    assert caller.api("POST", "/exports", {**asked, "segment": shown["segment"]}, key=key)["released"] == 3
    by_name = caller.api("POST", "/exports", asked, key=key)
    assert by_name["segment"] == shown["segment"], "also where it was told the name"
    caller.api("POST", "/exports", {**asked, "segment": "unheard-of"}, key=key, expect=403)
    answer = caller.http.get(f"/api/v1/exports/{made['id']}/data", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="{shown["segment"]}.jsonl"'
    query = "query($f: ExportFilter) {exports(filter: $f) {edges {node {segment}}}}"
    by_id = graphql(caller, query, key=key, f={"segment": shown["segment"]})["data"]["exports"]["edges"]
    assert {edge["node"]["segment"] for edge in by_id} == {shown["segment"]}
    found = graphql(caller, query, key=key, f={"segment": "lapsed-britons"})
    assert found["data"]["exports"]["edges"] == [], "a filter is no way to guess a name"
    marketer = caller.api("POST", "/keys", {"name": "m", "roles": ["marketer"], "purposes": [MAIL]})["key"]
    tried = caller.api("POST", "/exports", {**asked, "dry_run": True}, key=marketer)
    assert tried["segment"] == "lapsed-britons"
