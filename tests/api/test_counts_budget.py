"""What a marketer may have counted, and how often; the same by REST and GraphQL."""

from __future__ import annotations

from typing import Any

import msgspec
from caller import Caller

from cdp.clock import DAY, FixedClock
from cdp.segments import PER_DAY, Counting

BRITONS = {"where": {"trait": "country", "op": "eq", "value": "GB"}}


def people(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "type": "identify",
            "messageId": f"m{n}",
            "userId": f"u{n}",
            "traits": {"country": "GB", "plan": "pro"},
        }
        for n in range(start, start + count)
    ]


def marketer(caller: Caller, name: str = "m") -> str:
    made = caller.api("POST", "/keys", {"name": name, "roles": ["marketer"], "purposes": ["*"]})
    key = made["key"]
    assert isinstance(key, str)
    return key


def worded(number: int) -> dict[str, Any]:
    """The same people in other words."""
    sure = {"any": [BRITONS["where"], {"trait": "country", "op": "eq", "value": f"X{number}"}]}
    return {"where": sure}


def answer(caller: Caller, key: str, definition: dict[str, Any]) -> Any:
    return caller.http.post(
        "/api/v1/segments/preview",
        content=msgspec.json.encode(definition),
        headers={"Authorization": f"Bearer {key}"},
    )


def spend(caller: Caller, key: str, count: int) -> None:
    """Use up some of today's answers, as other processes would."""
    services = caller.services
    actor = f"key:{services.access.principal(key).key_id}"
    with services.committer.batch(head_first=True) as batch:
        services.counting.charge(batch, actor, [f"other {number}" for number in range(count)])


def test_a_key_has_a_number_of_answers_a_day_and_the_same_again_is_free(
    caller: Caller, clock: FixedClock
) -> None:
    caller.send(*people(30), wait=True)
    key = marketer(caller)
    first = answer(caller, key, worded(0)).json()["count"]
    spend(caller, key, PER_DAY - 2)
    assert answer(caller, key, worded(1)).status_code == 200
    refused = answer(caller, key, worded(2))
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= DAY // 1_000_000
    assert answer(caller, key, worded(0)).json()["count"] == first
    denied = caller.api("GET", "/audit?action=segment.count")["items"]
    assert any(item["outcome"] == "denied" for item in denied)
    another = marketer(caller, "another")
    assert answer(caller, another, worded(2)).status_code == 429  # a second key is no second budget
    assert answer(caller, another, worded(0)).json()["count"] == first
    assert caller.api("POST", "/segments/preview", worded(2))["count"] == 30  # officers have none
    clock.advance(DAY)
    assert answer(caller, key, worded(2)).status_code == 200


def test_the_budget_is_the_stores_not_the_processs(caller: Caller, clock: FixedClock) -> None:
    services = caller.services
    elsewhere = Counting(services.store, services.segments, lambda: services.bundle.fields, b"s" * 32, clock)
    with services.committer.batch(head_first=True) as batch:
        assert elsewhere.charge(batch, "key:77", ["a", "b", "a"]) == 2
        assert services.counting.charge(batch, "key:78", ["b", "c"]) == 3
        services.counting.give_back(batch, "key:78", ["a", "b"])
        assert services.counting.charge(batch, "key:79", []) == 3  # the other key still knows both
    clock.advance(DAY)
    with services.committer.batch(head_first=True) as batch:
        assert services.counting.charge(batch, "key:77", []) == 0


def test_several_keys_find_out_no_more_than_one(caller: Caller) -> None:
    """Each asks another question about the same people; together they get what one would have got."""
    caller.send(*people(40), wait=True)
    keys = [marketer(caller, f"m{number}") for number in range(5)]
    spend(caller, keys[0], PER_DAY - 12)
    answered: list[tuple[int, int]] = []
    for number in range(5 * 4):
        key = keys[number % len(keys)]
        found = answer(caller, key, worded(number))
        if found.status_code == 200:
            answered.append((number, found.json()["count"]))
    assert [number for number, _ in answered] == list(range(12))
    for key in keys:
        again = [answer(caller, key, worded(number)).json()["count"] for number, _ in answered]
        assert again == [count for _, count in answered]  # no two keys see two noises of one answer
        assert answer(caller, key, worded(99)).status_code == 429
    caller.api("DELETE", "/keys/m0")  # what a key was told is not forgotten with the key
    assert answer(caller, marketer(caller, "m5"), worded(99)).status_code == 429


def test_graphql_counts_by_the_same_budget(caller: Caller) -> None:
    caller.send(*people(3), wait=True)
    key = marketer(caller)
    query = "query($d: JSON!) {previewSegment(definition: $d) {count}}"

    def ask(definition: dict[str, Any]) -> Any:
        body = {"query": query, "variables": {"d": definition}}
        found = caller.http.post("/graphql", json=body, headers={"Authorization": f"Bearer {key}"})
        return found.json()

    assert ask(worded(0))["data"]["previewSegment"]["count"] == answer(caller, key, worded(0)).json()["count"]
    spend(caller, key, PER_DAY - 1)
    assert ask(worded(1))["errors"][0]["extensions"]["code"] == "too-many-requests"


def test_an_export_costs_each_figure_that_it_shows(caller: Caller) -> None:
    caller.send(*people(3), wait=True)
    caller.api("PUT", "/segments/britons", BRITONS)
    key = marketer(caller)
    asked = {
        "segment": "britons",
        "destination": "mailer",
        "purpose": "marketing.communications.email",
        "dry_run": True,
    }
    shown = caller.api("POST", "/exports", asked, key=key)
    again = caller.api("POST", "/exports", asked, key=key)
    names = ("members", "released", "withheld")
    assert [shown[name] for name in names] == [again[name] for name in names]  # asking again averages nothing
    assert "other" in shown["withheld"]
    spend(caller, key, PER_DAY - 6)
    caller.api("POST", "/exports", asked, key=key, expect=429)
    assert caller.api("POST", "/exports", asked)["exact"]


def test_neither_face_tells_a_marketer_what_the_one_person_in_a_segment_got(caller: Caller) -> None:
    caller.send(*people(2), wait=True)
    purpose = "marketing.communications.email"
    consent = {"identifiers": [{"type": "user_id", "value": "u0"}], "purpose": purpose, "state": "granted"}
    caller.api("POST", "/consents", consent)
    key = marketer(caller)
    mutation = "mutation($i: ExportInput!) {requestExport(input: $i) {status fields reason}}"
    shown, exactly = [], []
    for number, country in enumerate(("GB", "XX")):  # both people, nobody
        where = {"trait": "country", "op": "eq", "value": country}
        caller.api("PUT", f"/segments/s{number}", {"where": where})
        asked = {"segment": f"s{number}", "destination": "mailer", "purpose": purpose, "fields": ["email"]}
        exactly.append(caller.api("POST", "/exports", {**asked, "dry_run": True})["fields"])
        rest = caller.api("POST", "/exports", {**asked, "dry_run": True}, key=key)
        graph = caller.http.post(
            "/graphql",
            json={"query": mutation, "variables": {"i": {**asked, "dryRun": True}}},
            headers={"Authorization": f"Bearer {key}"},
        ).json()["data"]["requestExport"]
        assert graph == {name: rest[name] for name in graph}
        shown.append(graph)
    assert exactly == [{"email": "clear"}, {"email": "drop"}]
    assert shown == [{"status": "refused", "fields": {"email": "clear"}, "reason": "minimum_audience"}] * 2


def test_a_refusal_costs_what_an_answer_does_and_tells_nothing(caller: Caller) -> None:
    """Were it free, or exact, a marketer could ask about one person after another, as often as there are."""
    caller.send(*people(3), wait=True)
    key = marketer(caller)
    asked = {"destination": "mailer", "purpose": "marketing.communications.email"}
    said = []
    for number in range(PER_DAY // 3 + 2):
        caller.api("PUT", f"/segments/one-{number}", worded(number))
        answered = caller.http.post(
            "/api/v1/exports",
            json={**asked, "segment": f"one-{number}"},
            headers={"Authorization": f"Bearer {key}"},
        )
        said.append((answered.status_code, answered.json()["detail"]))
    refused, spent = said[: PER_DAY // 3], said[PER_DAY // 3 :]
    assert {status for status, _ in refused} == {403}
    assert len(set(refused)) == 1
    assert {status for status, _ in spent} == {429}
    denied = caller.api("GET", "/audit?action=export.authorise")["items"]
    assert [item["object"]["reason"] for item in denied[:3]] == ["count_budget"] * 2 + ["minimum_audience"]


def test_a_mistake_costs_nothing(caller: Caller) -> None:
    key = marketer(caller)
    asked = {"segment": "none", "destination": "mailer", "purpose": "marketing.communications.email"}
    for _ in range(PER_DAY // 3 + 1):
        caller.api("POST", "/exports", asked, key=key, expect=404)


def test_a_list_is_short_by_its_people_not_by_its_entries(caller: Caller) -> None:
    """Sixty identifiers of one person are one person."""
    devices = [
        {"type": "page", "messageId": f"d{n}", "userId": "u0", "anonymousId": f"b{n}"} for n in range(60)
    ]
    caller.send(*people(60), *devices, wait=True)
    key = marketer(caller)
    lists = {
        "crowd": [{"type": "user_id", "value": f"u{n}"} for n in range(60)],
        "one": [{"type": "anonymous_id", "value": f"b{n}"} for n in range(60)],
    }
    for name, members in lists.items():
        body = {"kind": "grey", "members": members}
        assert caller.api("PUT", f"/lists/{name}", body)["members"] == 60
    assert answer(caller, key, {"where": {"list": "crowd"}}).status_code == 200
    assert answer(caller, key, {"where": {"list": "one"}}).status_code == 403
    caller.api("PUT", "/segments/hidden", {"where": {"not": {"list": "one"}}})
    assert (
        answer(caller, key, {"where": {"any": [BRITONS["where"], {"segment": "hidden"}]}}).status_code == 403
    )


def test_no_export_tells_a_marketer_how_many_are_on_a_short_list(caller: Caller) -> None:
    caller.send(*people(2), wait=True)
    key = marketer(caller)
    caller.api("PUT", "/lists/vips", {"kind": "white", "members": [{"type": "user_id", "value": "u0"}]})
    caller.api("PUT", "/segments/hidden", {"where": {"list": "vips"}})
    caller.api("PUT", "/segments/vips", {"where": {"segment": "hidden"}})
    purpose = "marketing.communications.email"
    asked: dict[str, Any] = {"segment": "vips", "destination": "mailer", "purpose": purpose}
    for dry in (True, False):
        caller.api("POST", "/exports", {**asked, "dry_run": dry}, key=key, expect=403)
    query = "mutation($i: ExportInput!) {requestExport(input: $i) {members}}"
    body = {"query": query, "variables": {"i": {**asked, "dryRun": True}}}
    found = caller.http.post("/graphql", json=body, headers={"Authorization": f"Bearer {key}"}).json()
    assert found["errors"][0]["extensions"]["code"] == "not-permitted"
    assert caller.api("POST", "/exports", {**asked, "dry_run": True})["members"] == 1
