"""Many portraits at once: a page costs no more statements than one person, and each has their own view."""

from __future__ import annotations

from threading import get_ident
from typing import Any

import pytest
from caller import Caller
from sqlalchemy import event

QUALITY, REVIEW = "data_quality", "compliance_review"


def person(number: int, country: str = "DE") -> dict[str, Any]:
    traits = {"email": f"p{number}@people.example", "country": country, "plan": "gold", "value_tier": "high"}
    return {"type": "identify", "messageId": f"m{number}", "userId": f"u{number}", "traits": traits}


def read(caller: Caller, first: int, purpose: str, **more: Any) -> list[dict[str, Any]]:
    fields = (
        "id traits maskedFields segments memberships {segment version evaluatedAt} tags {name value} "
        "provenance {trait source rule} identities"
    )
    query = (
        f"query($f: ProfileFilter) {{profiles(first: {first}, filter: $f) {{edges {{node {{{fields}}}}}}}}}"
    )
    headers = {"Authorization": f"Bearer {caller.operator_key}", "CDP-Purpose": purpose}
    body = {"query": query, "variables": {"f": more or None}}
    answer = caller.http.post("/graphql", json=body, headers=headers).json()
    assert "errors" not in answer, answer
    return [edge["node"] for edge in answer["data"]["profiles"]["edges"]]


@pytest.mark.parametrize("segment", [None, "germans"])
def test_a_page_of_many_asks_the_database_no_more_than_a_page_of_few(
    caller: Caller, segment: str | None
) -> None:
    caller.send(*map(person, range(30)), wait=True)
    caller.api("PUT", "/segments/germans", {"where": {"trait": "country", "op": "eq", "value": "DE"}})
    portraits, engine = caller.services.portrait, caller.services.store.engine
    portraits.page("key:1", QUALITY, 2, None, segment)
    asked: list[str] = []
    ours = get_ident()  # the warehouse is fed beside us

    @event.listens_for(engine, "before_cursor_execute")
    def count(_c: object, _k: object, statement: str, *_rest: object) -> None:
        if statement.startswith("SELECT") and get_ident() == ours:
            asked.append(statement)

    counts = []
    try:
        for most in (2, 25):
            asked.clear()
            found, total = portraits.page("key:1", QUALITY, most, None, segment)
            assert (len(found), total) == (most, 30)
            counts.append(len(asked))
    finally:
        event.remove(engine, "before_cursor_execute", count)
    assert counts[0] == counts[1] <= 40, asked


def test_everybody_on_a_page_is_shown_as_they_are_alone(caller: Caller) -> None:
    caller.send(*(person(number, "DE" if number % 2 else "US") for number in range(6)), wait=True)
    caller.api("PUT", "/segments/germans", {"where": {"trait": "country", "op": "eq", "value": "DE"}})
    restricted = {"identifiers": [{"type": "user_id", "value": "u3"}], "purpose": QUALITY}
    caller.api("POST", "/consents", {**restricted, "state": "restricted"})
    for purpose, count in ((QUALITY, 5), (REVIEW, 6)):
        found = read(caller, 50, purpose)
        assert len(found) == count
        for node in found:
            alone = caller.api("GET", f"/profiles/{node['id']}", purpose=purpose)
            assert node["traits"] == alone["traits"]
            assert node["segments"] == alone["segments"]
            assert node["memberships"] == [
                {"segment": one["segment"], "version": 1, "evaluatedAt": one["evaluated_at"]}
                for one in alone["memberships"]
            ]
            assert [one["segment"] for one in node["memberships"]] == node["segments"]
            assert all(one["evaluatedAt"].startswith("2026-03-01T12:00") for one in node["memberships"])
            assert [one["trait"] for one in node["provenance"]] == list(alone["provenance"])
            assert [one["name"] for one in node["tags"]] == [one["name"] for one in alone["tags"]]
        assert {tuple(node["segments"]) for node in found} == {(), ("germans",)}
        assert ("value_tier" in str(found)) == (purpose == REVIEW)
