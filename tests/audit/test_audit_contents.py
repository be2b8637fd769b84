"""What is in the log: every use and every refusal, nothing in clear, and detail that only its key opens."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from caller import Caller
from litestar.routes import HTTPRoute
from sqlalchemy import select, update

from cdp.api.auth import Denials, declared
from cdp.api.graphql.guard import access_table
from cdp.api.graphql.schema import SCHEMA
from cdp.audit import AuditFilter, Entry
from cdp.audit.tables import audit_details, audit_entries
from cdp.errors import SealError

WHY = "Anna Plainly asked on the phone why she got the spring mailing"
SETUP = "how the platform is set up, which is no data of anybody"
WORK = "how far work is, which is asked again and again; the work itself is on record"
HASHES = "hashes, signatures and entries, for mirrors that would make the log grow by reading it"
OPEN = "open to everybody, and about nobody"
COUNTS = "how many events there were, by source and day, of nobody in particular"
SILENT = {
    "GET /audit/checkpoint": HASHES,
    "POST /audit/checkpoint": "the checkpoint itself says that it was signed",
    "GET /audit/proof/consistency": HASHES,
    "GET /audit/proof/file": HASHES,
    "GET /audit/proof/inclusion": HASHES,
    "GET /audit/verifier": HASHES,
    "GET /consents/receipts/key": OPEN,
    "GET /counts": COUNTS,
    "GET /identity/rules": SETUP,
    "GET /key": "what the caller's own key may do",
    "GET /keyring": WORK,
    "GET /match/runs": WORK,
    "POST /policies/check": "a candidate is read, and nothing of anybody",
    "GET /quarantine/counts": COUNTS,
    "GET /recovery": WORK,
    "GET /retention/runs": WORK,
    "GET /schemas/segment": SETUP,
    "GET /schemas/tag": SETUP,
    "GET /segments": SETUP,
    "GET /segments/{name:str}/history": SETUP,
    "GET /segments/{name:str}/sql": SETUP,
    "GET /tags": SETUP,
    "GET /tags/{name:str}": SETUP,
    "GET /tags/{name:str}/history": SETUP,
    "GET /health/live": OPEN,
    "GET /health/ready": OPEN,
    "GET /metrics": OPEN,
}
"""Routes that leave no entry, and why."""
NOTHING_TO_DO = {
    "GET /destinations/{destination:str}/recalls",
    "POST /destinations/{destination:str}/recalls",
    "POST /match/runs",
    "POST /quarantine/replay",
    "POST /recovery/replay",
}
"""Routes that leave one when there is something to read or to do, which there is not in the test."""
BEGUN_BY_SOMEBODY = {"matching.run"}
"""Background work that is recorded for whoever began it."""
BODIES: dict[str, Any] = {
    "POST /consents/import": None,
    "POST /profiles/lookup": {"type": "user_id", "value": "u0"},
    "POST /policies/explain": {"destination": "mailer", "purpose": "analytics"},
    "POST /profiles/{profile_id:str}/reveal": {
        "fields": ["country"],
        "purpose": "compliance_review",
        "reason": "test",
    },
    "PUT /lists/{name:str}": {"kind": "grey", "members": [{"type": "user_id", "value": "u0"}]},
    "PUT /segments/{name:str}": {"where": {"trait": "country", "op": "exists"}},
    "POST /segments/preview": {"where": {"trait": "country", "op": "exists"}},
    "POST /segments/overlap": {"segments": ["people", "people"]},
    "POST /sources": {"name": "driven"},
    "POST /keys": {"name": "driven", "roles": ["officer"]},
    "POST /consents": {
        "identifiers": [{"type": "user_id", "value": "u0"}],
        "purpose": "analytics",
        "state": "granted",
    },
    "POST /destinations/{destination:str}/switch": {"enabled": False, "reason": "test"},
    "POST /rights/requests": {"kind": "access", "identifiers": [{"type": "user_id", "value": "u0"}]},
    "POST /preferences/links": {"kind": "manage", "type": "user_id", "value": "u0"},
    "POST /recovery/backups": {"keys": True},
}
LAST = ("POST /destinations/{destination:str}/switch", "DELETE /segments/{name:str}", "POST /keyring/rotate")


@pytest.fixture
def person(caller: Caller) -> str:
    """The profile of somebody, and what the routes are driven with."""
    caller.send(
        {"type": "identify", "userId": "u0", "messageId": "m0", "traits": {"country": "France"}}, wait=True
    )
    found = caller.lookup("user_id", "u0")["id"]
    assert isinstance(found, str)
    return found


def newest(caller: Caller) -> int:
    with caller.services.store.reading() as connection:
        return caller.services.audit.size(connection)


def since(caller: Caller, before: int) -> list[str]:
    """Return the actions recorded since, those of background work left out."""
    with caller.services.store.reading() as connection:
        size = caller.services.audit.size(connection)
        found = [caller.services.audit.entry(connection, index) for index in range(before, size)]
    return [
        entry.action
        for entry in found
        if entry is not None and entry.actor != "system" and entry.action not in BEGUN_BY_SOMEBODY
    ]


def routes(caller: Caller) -> list[str]:
    return sorted(
        f"{method} {route.path.removeprefix('/api/v1')}"
        for route in caller.http.app.routes
        if isinstance(route, HTTPRoute) and route.path.startswith("/api/v1/")
        for handler in route.route_handlers
        for method in handler.http_methods - {"OPTIONS", "HEAD"}
    )


def test_every_route_that_answers_leaves_an_entry_or_says_why_not(caller: Caller, person: str) -> None:
    caller.api("PUT", "/segments/people", {"where": {"trait": "country", "op": "exists"}})
    names = {"profile_id": person, "name": "people", "destination": "mailer", "index": "0"}
    headers = {"Authorization": f"Bearer {caller.operator_key}", "CDP-Purpose": "rights"}
    silent, driven = set(), set()
    for route in sorted(routes(caller), key=lambda route: (route in LAST, route)):
        method, path = route.split(" ")
        for name, value in names.items():
            path = path.replace(f"{{{name}:str}}", value).replace(f"{{{name}:int}}", value)
        if "{" in path:
            continue  # of a thing that does not exist here
        body = BODIES.get(route, {} if method in {"POST", "PUT"} else None)
        if route == "POST /policies/explain":
            body = {**(body or {}), "profile": person}
        query = "?index=0&from=0" if "/proof/" in path else ""
        before = newest(caller)
        answer = caller.http.request(method, f"/api/v1{path}{query}", headers=headers, json=body)
        actions = set(since(caller, before))
        recorded = bool(actions)
        assert recorded or answer.status_code not in {401, 403}, route
        if answer.status_code < 300:
            driven.add(route)
            if actions <= {"access.denied"}:  # what was refused before, told by the minute
                silent.add(route)
    assert silent <= SILENT.keys() | NOTHING_TO_DO
    assert sorted((driven - silent) & SILENT.keys()) == [], "they do leave one"
    assert len(driven) > 55, sorted(driven)


def test_every_graphql_query_that_no_stage_records_is_recorded(caller: Caller) -> None:
    declared_queries = {place[1]: access.query for place, access in access_table(SCHEMA).items() if access}
    asked = {
        "exports": "{exports {totalCount}}",
        "policies": "{policies}",
        "suggestFields": "{suggestFields}",
    }
    assert {field for field, query in declared_queries.items() if query} == set(asked)
    for field, query in asked.items():
        before = newest(caller)
        answer = caller.http.post(
            "/graphql", json={"query": query}, headers={"Authorization": f"Bearer {caller.operator_key}"}
        )
        assert "errors" not in answer.json(), answer.text
        assert since(caller, before) == [declared_queries[field]]
    refused = caller.http.post(
        "/graphql",
        json={"query": "{policies nothing}"},
        headers={"Authorization": f"Bearer {caller.operator_key}"},
    ).json()
    assert refused["data"] is None
    assert since(caller, before) == [declared_queries["suggestFields"]], "nothing was answered"


def test_a_declared_query_is_recorded_before_the_answer(caller: Caller) -> None:
    queries = {
        f"{method} {route.path}": access.query
        for route in caller.http.app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if (access := declared(handler)) is not None and access.query
        for method in handler.http_methods - {"OPTIONS", "HEAD"}
    }
    assert len(queries) >= 8
    caller.api("GET", "/quarantine")
    (entry,) = caller.api("GET", "/audit?action=quarantine.list")["items"]
    assert entry["object"] == {"at": "GET /api/v1/quarantine"}


# -- refusals ------------------------------------------------------------------------------------------------


def test_a_refusal_by_a_handler_is_recorded_once(caller: Caller, person: str) -> None:
    bound = caller.api("POST", "/keys", {"name": "b", "roles": ["officer"], "purposes": ["rights"]})["key"]
    marketer = caller.officer("m", roles=("marketer",))
    for key, method, path, body in (
        (bound, "POST", f"/profiles/{person}/reveal",
         {"fields": ["country"], "purpose": "compliance_review", "reason": "test"}),
        (marketer, "PUT", "/tags/t", {"into": 3}),
        (marketer, "GET", "/audit", None),
    ):  # fmt: skip
        before = newest(caller)
        caller.api(method, path, body, key=key, expect=403)
        assert len(since(caller, before)) == 1, path
    denied = caller.api("GET", "/audit?outcome=denied")["items"]
    assert {entry["object"]["at"] for entry in denied} >= {"PUT /api/v1/tags/{name}"}


@pytest.mark.usefixtures("person")
def test_a_refusal_by_a_stage_is_recorded_over_rest_and_graphql(caller: Caller) -> None:
    caller.api("PUT", "/lists/few", {"kind": "grey", "members": [{"type": "user_id", "value": "u0"}]})
    marketer = caller.officer("m", roles=("marketer",))
    definition = {"where": {"list": "few"}}
    before = newest(caller)
    caller.api("POST", "/segments/preview", definition, key=marketer, expect=403)
    assert since(caller, before) == ["access.denied"]
    answer = caller.http.post(
        "/graphql",
        json={
            "query": "query($d: JSON!) {previewSegment(definition: $d) {count}}",
            "variables": {"d": definition},
        },
        headers={"Authorization": f"Bearer {marketer}"},
    )
    assert answer.json()["errors"][0]["extensions"]["code"] == "not-permitted"
    assert since(caller, before) == ["access.denied"] * 2


def test_wrong_write_keys_are_one_entry_an_address_and_minute(caller: Caller) -> None:
    for _ in range(5):
        answer = caller.http.post("/v1/track", json={"event": "x"}, auth=("wrong", ""))
        assert answer.status_code == 401
    assert caller.api("GET", "/audit?action=access.unknown_key")["total"] == 1
    caller.http.app.state.denials.flush()
    later, first = caller.api("GET", "/audit?action=access.unknown_key")["items"]
    assert (first["counts"], later["counts"]) == ({}, {"unsaid": 4})
    assert first["object"]["from"] == later["object"]["from"]
    assert "testclient" not in str((first, later))


def test_links_that_open_nothing_are_counted(caller: Caller) -> None:
    for _ in range(3):
        assert caller.http.get(f"/preferences/{secrets.token_urlsafe(16)}").status_code == 404
    assert caller.api("GET", "/audit?action=link.unknown")["total"] == 0
    caller.http.app.state.denials.flush()
    (entry,) = caller.api("GET", "/audit?action=link.unknown")["items"]
    assert (entry["actor"], entry["outcome"], entry["counts"]) == ("anonymous", "denied", {"unsaid": 3})


def test_a_flood_of_refusals_is_bounded_in_entries_and_in_memory(caller: Caller) -> None:
    denials = Denials(caller.services.committer, now=lambda: 0.0)
    for number in range(1_200):
        denials.note("link.unknown", f"192.0.2.{number}")
    before = newest(caller)
    denials.flush()
    assert len(since(caller, before)) == 1_001
    last = caller.api("GET", "/audit?outcome=denied&limit=1")["items"][0]
    assert last["counts"] == {"unsaid": 200, "origins": 200}
    denials.flush()
    assert len(since(caller, before)) == 1_002, "the search, and nothing said twice"


# -- sealed detail -------------------------------------------------------------------------------------------


def revealed(caller: Caller, person: str) -> int:
    body = {"fields": ["country"], "purpose": "compliance_review", "reason": WHY}
    index = caller.api("POST", f"/profiles/{person}/reveal", body)["audit_index"]
    assert isinstance(index, int)
    return index


def test_a_sentence_lies_sealed_beside_the_entry(caller: Caller, person: str) -> None:
    index = revealed(caller, person)
    (entry,) = caller.api("GET", "/audit?action=profile.reveal")["items"]
    assert entry["detailed"]
    assert "Anna" not in str(entry)
    caller.api("GET", f"/audit/{index}/details", expect=400)  # without a purpose
    found = caller.api("GET", f"/audit/{index}/details", purpose="compliance_review")
    said = {"reason": WHY, "known": ["country"]}
    assert found == {
        "index": index,
        "details": [{"profile": person, "said": said}],
        "withheld": 0,
        "erased": 0,
    }
    (opened,) = caller.api("GET", f"/audit?action=audit.detail&profile={person}")["items"]
    assert (opened["purpose"], opened["object"]) == ("compliance_review", {"entry": index})
    caller.api("GET", "/audit/999999/details", purpose="rights", expect=404)
    marketer = caller.officer("m", roles=("marketer", "steward"))
    caller.api("GET", f"/audit/{index}/details", purpose="rights", key=marketer, expect=403)
    assert caller.api("GET", "/audit/0/details", purpose="rights")["details"] == []


def test_small_numbers_of_people_lie_in_the_detail(caller: Caller, person: str) -> None:
    services = caller.services
    number = services.profile_ids.decode(person)
    with services.committer.batch() as batch:
        batch.record(Entry(action="x", actor="system", people={"found": 3, "all": 50}, subjects=(number,)))
    (entry,) = caller.api("GET", "/audit?action=x")["items"]
    assert entry["people"] == {"found": "<10", "all": 50}
    (detail,) = caller.api("GET", f"/audit/{entry['index']}/details", purpose="rights")["details"]
    assert detail["said"] == {"people": {"found": 3}}


def test_whoever_is_erased_leaves_a_log_that_verifies_and_no_detail(caller: Caller, person: str) -> None:
    services = caller.services
    index = revealed(caller, person)
    caller.api("POST", "/audit/checkpoint")
    number = services.profile_ids.decode(person)
    services.keyring.destroy([number])
    services.keyring.destroy([number], "proof")
    with services.committer.batch() as batch:
        services.audit.forget(batch.connection, [number])
        batch.erase()
    with services.store.reading() as connection:
        assert connection.execute(select(audit_details)).all() == []
        assert services.audit.count(connection, AuditFilter(identity_nos=(number,))) == 0
        assert services.audit.details(connection, index) == ({}, 1)
    assert caller.api("GET", "/audit/verify")["verified"]


def test_an_altered_detail_is_found_out(caller: Caller, person: str) -> None:
    index = revealed(caller, person)
    with caller.services.store.writing() as connection, connection.begin():
        connection.execute(update(audit_details).values(detail=bytes(80)))
    report = caller.api("GET", "/audit/verify")
    assert report["problems"] == [f"detail {index}: is not one of those that its entry has"]
    with caller.services.store.reading() as connection, pytest.raises(SealError):
        caller.services.audit.details(connection, index)


def test_altered_hashes_of_details_are_found_out(caller: Caller, person: str) -> None:
    index = revealed(caller, person)
    mine = audit_entries.c.leaf_index == index
    with caller.services.store.writing() as connection, connection.begin():
        connection.execute(update(audit_entries).where(mine).values(detail_hashes=bytes(32)))
    problems = caller.api("GET", "/audit/verify")["problems"]
    assert f"entry {index}: its hashes of details are not those whose root it holds" in problems


def test_a_refused_reveal_has_its_reason_sealed(caller: Caller, person: str) -> None:
    caller.api("POST", "/destinations/controller/switch", {"enabled": False, "reason": "test"})
    body = {"fields": ["country"], "purpose": "compliance_review", "reason": WHY}
    caller.api("POST", f"/profiles/{person}/reveal", body, expect=403)
    (entry,) = caller.api("GET", "/audit?action=profile.reveal&outcome=denied")["items"]
    caller.api("GET", f"/audit/{entry['index']}/details", purpose="rights", expect=403)
    caller.api("POST", "/destinations/controller/switch", {"enabled": True, "reason": "test"})
    (detail,) = caller.api("GET", f"/audit/{entry['index']}/details", purpose="rights")["details"]
    assert detail["said"] == {"reason": WHY}
