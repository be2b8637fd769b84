"""GraphQL over a whole platform, on both stores: the same verbs, roles and audit as REST."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from caller import Caller
from structlog.testing import capture_logs

EMAIL = "ada.nobody@example.org"
PURPOSE = "compliance_review"
MAIL = "marketing.communications.email"
WHERE = {"where": {"trait": "country", "op": "eq", "value": "GB"}}


def ask(caller: Caller, query: str, *, key: str = "", purpose: str = PURPOSE, **variables: Any) -> Any:
    """Run a query that must succeed and return its data."""
    answer = run(caller, query, key=key, purpose=purpose, **variables)
    assert "errors" not in answer, answer["errors"]
    return answer["data"]


def run(caller: Caller, query: str, *, key: str = "", purpose: str = PURPOSE, **variables: Any) -> Any:
    """Run a query and return the whole answer."""
    headers = {"Authorization": f"Bearer {key or caller.operator_key}"}
    if purpose:
        headers["CDP-Purpose"] = purpose
    answer = caller.http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def codes(answer: Any) -> set[str]:
    return {error["extensions"]["code"] for error in answer["errors"]}


def walk(caller: Caller, query: str, *path: str, **variables: Any) -> Iterator[Any]:
    """Yield the nodes of a connection, page after page."""
    after = None
    for _ in range(100):
        found = ask(caller, query, after=after, **variables)
        for name in path:
            found = found[name]
        yield from (edge["node"] for edge in found["edges"])
        info = found["pageInfo"]
        if not info["hasNextPage"]:
            return
        assert info["endCursor"] == found["edges"][-1]["cursor"]
        after = info["endCursor"]
    raise AssertionError("the list does not end")


def people(count: int) -> list[dict[str, Any]]:
    return [
        {
            "type": "identify",
            "userId": f"u{n}",
            "traits": {"email": f"person{n}@example.org", "country": "GB", "first_name": "Ada"},
        }
        for n in range(count)
    ]


def test_events_pushed_by_graphql_are_found_by_identifier(caller: Caller) -> None:
    pushed = ask(
        caller,
        "mutation($events: [EventInput!]!) {ingest(events: $events) {success received}}",
        key=caller.write_key(),
        events=[
            {"type": "identify", "userId": "u1", "traits": {"email": EMAIL, "country": "GB"}},
            *({"type": "track", "userId": "u1", "event": f"Step {n}"} for n in range(4)),
        ],
    )
    assert pushed == {"ingest": {"success": True, "received": 5}}
    found = ask(
        caller,
        """query($email: String!) {
            profile(identifier: {type: "email", value: $email}) {
                id traits maskedFields
                identifiers {edges {node {type class value maskedFields}}}
                consents {purpose state reason}
            }
        }""",
        email=EMAIL,
    )["profile"]
    assert found["traits"] == {"country": "GB", "email": None}
    assert found["maskedFields"] == ["email"]
    assert {edge["node"]["value"] for edge in found["identifiers"]["edges"]} == {None}
    assert {state["state"] for state in found["consents"]} == {"missing"}
    events = "query($id: ID!, $after: String) {profile(id: $id) {events(first: 2, after: $after) {\
        edges {cursor node {id name}} pageInfo {hasNextPage endCursor} totalCount}}}"
    names = [node["name"] for node in walk(caller, events, "profile", "events", id=found["id"])]
    assert sorted(names) == ["Step 0", "Step 1", "Step 2", "Step 3", "identify"]


def test_an_operator_may_not_ingest_and_a_source_may_not_read(caller: Caller) -> None:
    events = 'mutation {ingest(events: [{type: "track", userId: "u", event: "e"}]) {success}}'
    assert codes(run(caller, events)) == {"not-permitted"}
    assert codes(run(caller, "{profiles {totalCount}}", key=caller.write_key())) == {"not-permitted"}
    refused = caller.api("GET", "/audit?action=access.denied")["items"]
    assert [entry["object"]["at"] for entry in refused] == [
        "graphql Query.profiles",
        "graphql Mutation.ingest",
    ]


def test_profiles_are_paged_and_filtered_by_segment(caller: Caller) -> None:
    caller.send(*people(5), wait=True)
    query = (
        "query($after: String, $filter: ProfileFilter) {profiles(first: 2, after: $after, filter: $filter) {\
        edges {cursor node {id segments}} pageInfo {hasNextPage endCursor} totalCount}}"
    )
    everybody = [node["id"] for node in walk(caller, query, "profiles")]
    assert len(set(everybody)) == len(everybody) == 5
    caller.api("PUT", "/segments/britons", WHERE)
    within = list(walk(caller, query, "profiles", filter={"segment": "britons"}))
    assert [node["id"] for node in within] == everybody
    assert {tuple(node["segments"]) for node in within} == {("britons",)}
    assert ask(caller, query)["profiles"]["totalCount"] == 5
    steward = caller.api("POST", "/keys", {"name": "s", "roles": ["steward"], "purposes": [PURPOSE]})["key"]
    assert ask(caller, query, key=steward, purpose="")["profiles"]["totalCount"] is None
    assert codes(run(caller, query, filter={"segment": "nobody"})) == {"not-found"}


def test_segments_by_graphql(caller: Caller) -> None:
    caller.send(*people(3), wait=True)
    shown = "name version count definition"
    apply = f'mutation($d: JSON!) {{applySegment(name: "britons", definition: $d) {{{shown}}}}}'
    made = ask(caller, apply, d=WHERE)["applySegment"]
    assert (made["name"], made["version"], made["count"]) == ("britons", 1, 3)
    preview = "query($d: JSON!) {previewSegment(definition: $d) {count asOf tookMs}}"
    assert ask(caller, preview, d=WHERE)["previewSegment"]["count"] == 3
    marketer = caller.api("POST", "/keys", {"name": "m", "roles": ["marketer"]})["key"]
    noised = ask(caller, preview, d=WHERE, key=marketer, purpose="")["previewSegment"]["count"]
    assert noised % 10 == 0
    listed = ask(caller, "{segments {totalCount edges {node {name}}}}")["segments"]
    assert listed == {"totalCount": 1, "edges": [{"node": {"name": "britons"}}]}
    assert ask(caller, '{segment(name: "nothing") {name}}') == {"segment": None}
    wrong = run(caller, apply, d={"where": {"trait": "email", "op": "eq", "value": EMAIL}})
    assert codes(wrong) == {"invalid-definition"}
    assert EMAIL not in str(wrong)


def test_consent_and_export_by_graphql(caller: Caller) -> None:
    caller.send(*people(3), wait=True)
    record = "mutation($input: ConsentInput!) {recordConsent(input: $input) {purpose state reason}}"
    for n in range(2):
        person = [{"type": "user_id", "value": f"u{n}"}]
        given = ask(caller, record, input={"identifiers": person, "purpose": MAIL, "state": "granted"})
        assert given["recordConsent"]["state"] == "granted"
    by_source = {"identifiers": [{"type": "user_id", "value": "u2"}], "purpose": MAIL, "state": "refused"}
    push = "mutation($input: ConsentInput!) {recordConsent(input: $input) {purpose}}"
    assert ask(caller, push, key=caller.write_key(), input=by_source) == {"recordConsent": {"purpose": MAIL}}
    wrong = {**by_source, "state": "perhaps"}
    assert codes(run(caller, record, input=wrong)) == {"invalid-input"}
    caller.api("PUT", "/segments/britons", WHERE)
    ask_for = "mutation($input: ExportInput!) {requestExport(input: $input) {id status released withheld}}"
    asked = {"segment": "britons", "destination": "mailer", "purpose": MAIL}
    made = ask(caller, ask_for, input=asked)["requestExport"]
    assert (made["released"], made["withheld"]) == (2, {"refused": 1})
    assert caller.api("GET", f"/exports/{made['id']}")["released"] == 2
    query = "query($f: ExportFilter) {exports(filter: $f) {edges {node {id destination}}}}"
    assert ask(caller, query, f={"destination": "mailer"})["exports"]["edges"][0]["node"]["id"] == made["id"]
    assert ask(caller, query, f={"destination": "crm"})["exports"]["edges"] == []


def test_merge_and_split_by_graphql(caller: Caller) -> None:
    caller.send(*people(1))
    found = caller.lookup("user_id", "u0")
    members = ask(
        caller, "query($id: ID!) {profile(id: $id) {identifiers {edges {node {id}}}}}", id=found["id"]
    )
    ids = [edge["node"]["id"] for edge in members["profile"]["identifiers"]["edges"]]
    split = "mutation($id: ID!, $dry: Boolean) {splitProfile(id: $id, dryRun: $dry) {dryRun after {id}}}"
    assert ask(caller, split, id=ids[1])["splitProfile"]["dryRun"] is True
    assert ask(caller, split, id=ids[1], dry=None)["splitProfile"]["dryRun"] is True
    assert caller.lookup("user_id", "u0")["identities"] == 2
    done = ask(caller, split, id=ids[1], dry=False)["splitProfile"]
    assert {group["id"] for group in done["after"]} == set(ids)
    merge = "mutation($ids: [ID!]!, $dry: Boolean) {mergeProfiles(ids: $ids, dryRun: $dry) {dryRun refused}}"
    assert ask(caller, merge, ids=ids, dry=None)["mergeProfiles"]["dryRun"] is True
    assert caller.lookup("user_id", "u0")["identities"] == 1
    assert ask(caller, merge, ids=ids, dry=False)["mergeProfiles"] == {"dryRun": False, "refused": {}}
    assert caller.lookup("user_id", "u0")["identities"] == 2


def test_uses_and_audit_entries_by_graphql(caller: Caller) -> None:
    caller.send(*people(2))
    found = caller.lookup("user_id", "u0")["id"]
    for _ in range(4):
        caller.lookup("user_id", "u0")
    caller.lookup("user_id", "u1")
    query = "query($id: ID!, $after: String) {dataUses(profileId: $id, first: 2, after: $after) {\
        edges {cursor node {index action purpose object counts people}} pageInfo {hasNextPage endCursor}}}"
    uses = list(walk(caller, query, "dataUses", id=found))
    lookups = [use for use in uses if use["action"] == "profile.lookup"]
    assert len(lookups) == 5
    assert {use["purpose"] for use in lookups} == {"data_quality"}
    rest = caller.api("GET", f"/profiles/{found}/uses", purpose="rights")["items"]
    parts = ("index", "action", "purpose", "object", "counts", "people")
    assert uses == [{part: one[part] for part in parts} for one in rest if one["index"] <= uses[0]["index"]]
    entries = (
        "query($after: String, $filter: AuditFilter) {"
        "auditEntries(first: 2, after: $after, filter: $filter) {"
        "edges {cursor node {index action}} pageInfo {hasNextPage endCursor} totalCount}}"
    )
    wanted = {"action": "profile.lookup", "profile": found}
    listed = list(walk(caller, entries, "auditEntries", filter=wanted))
    assert [entry["index"] for entry in listed] == [use["index"] for use in lookups]
    assert ask(caller, entries, filter=wanted)["auditEntries"]["totalCount"] == 5


def test_the_http_face(caller: Caller) -> None:
    assert caller.http.post("/graphql", json={"query": "{__typename}"}).status_code == 401
    document = caller.http.get("/graphql")
    assert document.status_code == 200
    assert "type Query" in document.text
    headers = {"Authorization": f"Bearer {caller.operator_key}"}
    assert caller.http.post("/graphql", json={"query": 3}, headers=headers).status_code == 400
    broken = caller.http.post("/graphql", json={"query": "{"}, headers=headers)
    assert codes(broken.json()) == {"invalid-query"}
    unstated = run(caller, "{profiles {totalCount}}", purpose="")
    assert codes(unstated) == {"invalid-input"}


NO_OPERATION = "fragment f on Query {segments {totalCount}}"
SEVERAL = "query a {segments {totalCount}} query b {segments {totalCount}}"
SECRET = "secret-9876543210"


@pytest.mark.parametrize(
    ("query", "extra", "code"),
    [
        ("", {}, "invalid-query"),
        ("  ", {}, "invalid-query"),
        (NO_OPERATION, {}, "invalid-query"),
        ("type X {a: Int}", {}, "invalid-query"),
        ("{segments {totalCount}}", {"operationName": SECRET}, "invalid-query"),
        ("{segments {totalCount}}", {"operationName": ""}, "invalid-query"),
        (SEVERAL, {}, "invalid-query"),
        ("subscription {segments {totalCount}}", {}, "invalid-query"),
        (f"{{segments(first: {'9' * 5000}) {{totalCount}}}}", {}, "invalid-query"),
        ("{a" * 900, {}, "invalid-query"),
        (f'{{segment(name: "{SECRET}\\u{{0}}") {{name}}}}', {}, "invalid-input"),
        (f'{{segment(name: """{SECRET}""", {SECRET[:6]}: 1) {{name}}}}', {}, "invalid-query"),
    ],
)
def test_a_query_that_cannot_run_is_the_clients_mistake(
    caller: Caller, query: str, extra: dict[str, str], code: str
) -> None:
    assert_mistake(caller, {"query": query, **extra}, code)


@pytest.mark.parametrize("value", [SECRET, 1 << 40, int(1e300), 1.5, True, [SECRET], {SECRET: SECRET}])
def test_a_variable_of_a_wrong_type_is_the_clients_mistake(caller: Caller, value: object) -> None:
    query = "query($n: Int) {segments(first: $n) {totalCount}}"
    errors = assert_mistake(caller, {"query": query, "variables": {"n": value}}, "invalid-input")
    assert [error["message"] for error in errors] == ["the variable $n does not fit its type Int"]


def test_a_variable_that_is_missing_or_null_or_unknown_inside_is_the_clients_mistake(caller: Caller) -> None:
    query = "query($id: ID!) {profile(id: $id) {id}}"
    assert_mistake(caller, {"query": query}, "invalid-input")
    assert_mistake(caller, {"query": query, "variables": {"id": None}}, "invalid-input")
    query = "query($f: ExportFilter) {exports(filter: $f) {totalCount}}"
    for wrong in ({SECRET: 1}, {"segment": 5}, SECRET, [SECRET]):
        assert_mistake(caller, {"query": query, "variables": {"f": wrong}}, "invalid-input")


def test_one_of_several_operations_runs_by_its_name(caller: Caller) -> None:
    headers = {"Authorization": f"Bearer {caller.operator_key}"}
    body = {"query": SEVERAL, "operationName": "b"}
    assert caller.http.post("/graphql", json=body, headers=headers).json() == {
        "data": {"segments": {"totalCount": 0}}
    }


def test_a_mistake_of_ours_is_an_incident(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(caller.services.segments, "list", broken)
    with capture_logs() as logged:
        assert codes(run(caller, "{segments {totalCount}}")) == {"internal"}
    assert [line["event"] for line in logged] == ["incident"]
    assert SECRET not in str(logged)


def assert_mistake(caller: Caller, body: dict[str, Any], code: str) -> list[dict[str, Any]]:
    """Send a request that is refused: no data, no incident, nothing of it repeated."""
    headers = {"Authorization": f"Bearer {caller.operator_key}", "CDP-Purpose": PURPOSE}
    with capture_logs() as logged:
        answer = caller.http.post("/graphql", json=body, headers=headers)
    assert logged == []
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["errors"]
    assert answer.json()["data"] is None
    assert {error["extensions"]["code"] for error in found} == {code}, found
    assert SECRET not in answer.text
    return found
