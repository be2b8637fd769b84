"""The log asked over REST, GraphQL and the command line: pages, cursors, files, uses by day, bad input."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from caller import Caller
from platform_fixtures import Shell

from cdp.audit import Entry


def record(caller: Caller, *entries: Entry) -> None:
    with caller.services.committer.batch() as batch:
        for entry in entries:
            batch.record(entry)


def entries(count: int, **more: Any) -> list[Entry]:
    said: dict[str, Any] = {"actor": "key:7", "action": "test.use", "purpose": "analytics", **more}
    return [Entry(**said, object={"segment": "=HYPERLINK", "n": n}) for n in range(count)]


def graphql(caller: Caller, query: str, **variables: Any) -> Any:
    answer = caller.http.post(
        "/graphql",
        json={"query": query, "variables": variables},
        headers={"Authorization": f"Bearer {caller.operator_key}", "CDP-Purpose": "rights"},
    ).json()
    assert "errors" not in answer, answer
    return answer["data"]


def test_pages_neither_repeat_nor_miss_while_the_log_grows(caller: Caller) -> None:
    record(caller, *entries(11), *entries(3, outcome="denied"))
    path = "/audit?action=test.use&segment=%3DHYPERLINK&outcome=allowed&limit=4"
    got: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        page = caller.api("GET", path + (f"&cursor={cursor}" if cursor else ""))
        assert page["total"] == 11
        got += [item["object"]["n"] for item in page["items"]]
        cursor = page["next"]
        record(caller, *entries(2))
    assert got == list(range(10, -1, -1))


def test_graphql_connections_count_exactly_and_continue(caller: Caller) -> None:
    record(caller, *entries(7))
    query = """query($after: String, $filter: AuditFilter) {
        auditEntries(first: 3, after: $after, filter: $filter) {
            totalCount pageInfo {hasNextPage endCursor} edges {cursor node {object}}}}"""
    got, after, more = [], None, True
    while more:
        found = graphql(caller, query, after=after, filter={"action": "test.use", "segment": "=HYPERLINK"})
        page = found["auditEntries"]
        assert page["totalCount"] == 7
        got += [edge["node"]["object"]["n"] for edge in page["edges"]]
        more, after = page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"]
        record(caller, *entries(1))
    assert got == [6, 5, 4, 3, 2, 1, 0]


def test_uses_of_a_person_are_counted(caller: Caller) -> None:
    caller.send({"type": "identify", "userId": "u0", "messageId": "m0", "traits": {"country": "France"}})
    person = caller.lookup("user_id", "u0")["id"]
    for _ in range(3):
        caller.lookup("user_id", "u0")
    query = "query($id: ID!, $after: String) {dataUses(profileId: $id, first: 3, after: $after) {\
        totalCount pageInfo {hasNextPage endCursor} edges {node {action}}}}"
    first = graphql(caller, query, id=person)["dataUses"]
    assert first["totalCount"] == 4
    rest = graphql(caller, query, id=person, after=first["pageInfo"]["endCursor"])["dataUses"]
    assert (rest["totalCount"], len(rest["edges"])) == (4, 1)  # not the look at them in between
    listed = caller.api("GET", f"/profiles/{person}/uses?limit=2", purpose="rights")
    assert (listed["total"], len(listed["items"])) == (6, 2)
    found = caller.api("GET", f"/audit?profile={person}&action=profile.lookup&purpose=data_quality")
    assert found["total"] == 4


def test_uses_by_day_hide_few_people(caller: Caller) -> None:
    record(caller, *entries(2, people={"released": 40}), *entries(1, purpose="rights", people={"n": 4}))
    found = caller.api("GET", "/audit/uses?action=test.use")["items"]
    day = {"day": "2026-03-01", "destination": None}
    assert found == [
        {**day, "purpose": "analytics", "entries": 2, "people": 80},
        {**day, "purpose": "rights", "entries": 1, "people": "<10"},
    ]
    by_action = caller.api("GET", "/audit/uses?purpose=rights&by=action&from=2026-03-01T10:00:00Z")["items"]
    assert [one["action"] for one in by_action] == ["test.use"]
    assert caller.api("GET", "/audit/uses?to=2026-03-01T00:00:00Z")["items"] == []
    query = '{usesByDay(filter: {action: "test.use"}) {day purpose entries people}}'
    assert [day["people"] for day in graphql(caller, query)["usesByDay"]] == [80, "<10"]
    assert caller.api("GET", "/audit?action=audit.uses")["total"] == 4


def test_a_search_is_exported_in_each_format(shell: Shell, tmp_path: Path) -> None:
    for name in ("=cmd", "plain"):
        shell("source", "create", name)
    wanted = json.loads(shell("audit", "search", "--action", "source.create", "--json"))
    assert len(wanted) == 2
    for kind in ("jsonl", "csv", "parquet"):
        out = tmp_path / f"found.{kind}"
        said = shell("audit", "search", "--action", "source.create", "--out", out, "--format", kind)
        assert said.startswith("2 entries written")
        assert out.stat().st_mode & 0o077 == 0
        shell("audit", "search", "--out", out, expect=1)  # never over a file that is there
    lines = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert lines == wanted
    rows = list(csv.DictReader(io.StringIO((tmp_path / "found.csv").read_text())))
    table = pq.read_table(tmp_path / "found.parquet").to_pylist()
    for at, entry in enumerate(wanted):
        for found in (rows[at], table[at]):
            assert (int(found["index"]), found["action"]) == (entry["index"], "source.create")
            assert json.loads(found["object"]) == entry["object"]
    none = tmp_path / "none.csv"
    assert shell("audit", "search", "--actor", "nobody", "--out", none, "--format", "csv").startswith("0")
    assert none.read_text().startswith("index,")
    days = json.loads(shell("audit", "uses", "--action", "source.create", "--by-action", "--json"))
    assert [(day["action"], day["entries"]) for day in days] == [("source.create", 2)]


def test_formulas_in_csv_are_harmless(caller: Caller) -> None:
    record(caller, *entries(1, actor="=1+1"), *entries(1, actor="@SUM(A1)"))
    headers = {"Authorization": f"Bearer {caller.operator_key}"}
    answer = caller.http.get("/api/v1/audit/export?format=csv&action=test.use", headers=headers)
    assert answer.headers["cdp-total"] == "2"
    assert [row["actor"] for row in csv.DictReader(io.StringIO(answer.text))] == ["'@SUM(A1)", "'=1+1"]
    (search,) = caller.api("GET", "/audit?action=audit.export")["items"]
    assert (search["object"], search["counts"]) == ({"conditions": "action"}, {"entries": 2})


def test_a_search_is_on_record_without_what_was_written(caller: Caller) -> None:
    words = {"actor": "Jane Doe", "segment": "jane's"}
    caller.api("GET", "/audit?" + "&".join(f"{name}={quote(word)}" for name, word in words.items()))
    found = caller.api("GET", "/audit?action=audit.search")["items"][0]
    assert found["object"] == {"conditions": "actor,segment"}
    assert "ane" not in json.dumps(found)


@pytest.mark.parametrize(
    "query",
    [
        "from=yesterday",
        "outcome=perhaps",
        "from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z",
        "from=2026-03-01T00:00:00Z&to=2026-03-01T00:00:00Z",
        "limit=0",
        "limit=501",
        "limit=999999999999999999999",
        "limit=many",
        "cursor=nonsense",
        "aktor=key:1",
        "profile=nobody",
    ],
)
def test_bad_questions_are_refused(caller: Caller, query: str) -> None:
    answer = caller.api("GET", f"/audit?{query}", expect=404 if query == "profile=nobody" else 400)
    for word in ("yesterday", "perhaps", "nonsense", "aktor"):
        assert word not in json.dumps(answer)


def test_a_cursor_of_another_question_is_refused(caller: Caller) -> None:
    record(caller, *entries(3))
    cursor = caller.api("GET", "/audit?action=test.use&limit=1")["next"]
    assert caller.api("GET", f"/audit?action=test.use&limit=2&cursor={cursor}")["total"] == 3
    for other in ("action=test.use&actor=key:7", "action=source.create", "limit=1"):
        caller.api("GET", f"/audit?{other}&cursor={cursor}", expect=400)
    caller.api("GET", f"/profiles/x/uses?cursor={cursor}", purpose="rights", expect=400)


def test_what_is_not_counted_by_day_is_said(caller: Caller) -> None:
    for query in ("actor=key:7", "segment=s", "from=2020-01-01T00:00:00Z", "by=week"):
        caller.api("GET", f"/audit/uses?{query}", expect=400)


def test_unknown_names_find_nothing(caller: Caller) -> None:
    for name in ("actor", "action", "purpose", "destination", "segment"):
        assert caller.api("GET", f"/audit?{name}=nobody") == {"items": [], "next": None, "total": 0}
