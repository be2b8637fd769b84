"""A portrait through REST and GraphQL, on both stores: what is known, where it came from, who used it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from caller import Caller

from cdp.clock import DAY, FixedClock

EMAIL = "ann.nobody@people.example"
MATCHING, QUALITY, REVIEW, RIGHTS = "identity_resolution", "data_quality", "compliance_review", "rights"
MAIL = "marketing.communications.email"
TRAITS: dict[str, Any] = {
    "email": EMAIL,
    "country": "DE",
    "plan": "gold",
    "value_tier": "high",
    "likely_pregnant": True,
}


def identify(user: str, **traits: Any) -> dict[str, Any]:
    message = f"i-{user}-{len(traits)}"
    return {"type": "identify", "messageId": message, "userId": user, "traits": traits}


def track(user: str, number: int) -> dict[str, Any]:
    event = {"type": "track", "event": "Order Completed", "messageId": f"t-{user}-{number}", "userId": user}
    return {**event, "properties": {"revenue": number}}


def find(caller: Caller, kind: str, value: str, purpose: str = RIGHTS) -> Any:
    return caller.api("POST", "/profiles/lookup", {"type": kind, "value": value}, purpose=purpose)


def listed(caller: Caller, profile: str, part: str, purpose: str = QUALITY, limit: int = 500) -> list[Any]:
    return list(pages(caller, f"/profiles/{profile}/{part}", purpose, limit))


def pages(caller: Caller, path: str, purpose: str, limit: int) -> Iterator[Any]:
    """Yield every item of a list, page after page."""
    cursor = ""
    for _ in range(200):
        page = caller.api("GET", f"{path}?limit={limit}{cursor}", purpose=purpose)
        assert len(page["items"]) <= limit
        yield from page["items"]
        if page["next"] is None:
            return
        cursor = f"&cursor={page['next']}"
    raise AssertionError("the list does not end")


def ask(caller: Caller, query: str, purpose: str = QUALITY, **variables: Any) -> Any:
    headers = {"Authorization": f"Bearer {caller.operator_key}", "CDP-Purpose": purpose}
    body = {"query": query, "variables": variables}
    answer = caller.http.post("/graphql", json=body, headers=headers).json()
    assert "errors" not in answer, answer["errors"]
    return answer["data"]


def connected(caller: Caller, profile: str, part: str, fields: str, first: int) -> Iterator[Any]:
    """Yield the nodes of one of a profile's connections, page after page."""
    query = (
        f"query($id: ID!, $after: String) {{profile(id: $id) {{{part}(first: {first}, after: $after) {{"
        f"edges {{node {{{fields}}}}} pageInfo {{hasNextPage endCursor}}}}}}}}"
    )
    after = None
    for _ in range(200):
        found = ask(caller, query, id=profile, after=after)["profile"][part]
        assert len(found["edges"]) <= first
        yield from (edge["node"] for edge in found["edges"])
        after = found["pageInfo"]["endCursor"]
        if not found["pageInfo"]["hasNextPage"]:
            return
    raise AssertionError("the list does not end")


@pytest.fixture
def ann(caller: Caller) -> str:
    """The id of somebody of whom several things are known."""
    earlier = {"timestamp": "2026-02-01T10:00:00Z"}
    caller.send({**identify("ann", **TRAITS), **earlier}, track("ann", 1))
    found: str = find(caller, "user_id", "ann")["id"]
    return found


def test_each_trait_that_is_shown_says_where_it_comes_from_and_no_other_does(
    caller: Caller, ann: str
) -> None:
    for purpose in (MATCHING, QUALITY, REVIEW):
        found = caller.api("GET", f"/profiles/{ann}", purpose=purpose)
        assert found["provenance"].keys() == found["traits"].keys(), purpose
    known = found["provenance"]["country"]
    assert (known["source"], known["rule"]) == ("test-server", "most_recent")
    assert known["observed_at"].startswith("2026-02-01T10:00:00")
    assert found["provenance"]["plan"]["rule"] == "most_trusted"
    assert found["provenance"]["email"]["source"] == "test-server", "of a sealed trait, too"
    provenance = "provenance {trait source observedAt rule sources conflict}"
    fields = f"traits tags {{name value basis version}} {provenance} identities"
    seen = ask(caller, f"query($id: ID!) {{profile(id: $id) {{{fields}}}}}", REVIEW, id=ann)["profile"]
    assert {one.pop("trait"): one for one in seen["provenance"]} == {
        name: {"observedAt": held.pop("observed_at"), **held} for name, held in found["provenance"].items()
    }
    assert seen["tags"] == found["tags"]
    assert seen["identities"] == found["identities"] == 2


def test_a_conclusion_is_a_tag_with_its_basis_and_absent_where_the_policies_drop_it(
    caller: Caller, ann: str
) -> None:
    tags = {tag["name"]: tag for tag in caller.api("GET", f"/profiles/{ann}", purpose=REVIEW)["tags"]}
    assert tags["value_tier"]["value"] == "high"
    assert "Revenue" in tags["value_tier"]["basis"]
    assert tags["likely_pregnant"]["value"] is None, "it is sealed"
    assert "email" not in tags
    found = caller.api("GET", f"/profiles/{ann}", purpose=QUALITY)
    assert found["tags"] == []
    assert "Revenue" not in str(found)
    assert "pregnant" not in str(found)


def test_identifiers_are_masked_and_the_entry_names_what_was_opened(caller: Caller, ann: str) -> None:
    items = {item["type"]: item for item in listed(caller, ann, "identifiers")}
    assert {kind: item["masked"] for kind, item in items.items()} == {"user_id": "***", "email": "a***@p***"}
    for item in items.values():
        assert (item["value"], item["masked_fields"], item["class"]) == (None, ["value"], "person")
        assert (item["source"], item["created_at"][:19]) == ("test-server", "2026-03-01T12:00:00")
    fields = "id type class value masked maskedFields source createdAt"
    nodes = {node["type"]: node for node in connected(caller, ann, "identifiers", fields, 1)}
    assert {kind: node["masked"] for kind, node in nodes.items()} == {"user_id": "***", "email": "a***@p***"}
    assert {node["id"] for node in nodes.values()} == {item["id"] for item in items.values()}
    entry = caller.api("GET", "/audit?action=profile.identifiers&limit=5")["items"][-1]
    assert entry["object"] == {"masked": "email,user_id"}
    assert EMAIL not in str([items, nodes])


def test_an_event_that_tells_too_much_hides_its_source_too(caller: Caller, ann: str) -> None:
    hidden = {event["type"]: event for event in listed(caller, ann, "events", MATCHING)}
    assert (hidden["track"]["name"], hidden["track"]["source"]) == (None, None)
    assert hidden["identify"]["source"] == "test-server"
    shown = {event["type"]: event for event in listed(caller, ann, "events")}
    assert (shown["track"]["name"], shown["track"]["source"]) == ("Order Completed", "test-server")
    nodes = {node["type"]: node for node in connected(caller, ann, "events", "type name source", 1)}
    assert nodes["track"] == {"type": "track", "name": "Order Completed", "source": "test-server"}


def test_links_say_why_in_words_what_was_set_aside_too(caller: Caller, ann: str) -> None:
    caller.send(
        {"type": "track", "event": "Seen", "messageId": "s", "anonymousId": "browser"},
        identify("bob", email="bob.nobody@people.example", country="DE"),
        identify("bob", email=EMAIL),
    )
    seen, bob = (find(caller, *who)["id"] for who in (("anonymous_id", "browser"), ("user_id", "bob")))
    caller.api("POST", "/profiles/merge", {"ids": [ann, seen], "dry_run": False}, purpose=QUALITY)
    found = {(link["origin"], link["accepted"]): link for link in listed(caller, ann, "links")}
    told = found["event", True]
    assert sorted(told["types"]) == ["email", "user_id"]
    assert (told["why"], told["source"], told["holds"]) == ("one event named both", "test-server", True)
    assert told["rules_version"] >= 1
    assert len(told["evidence"]) == 32
    merged = found["merge", True]
    assert merged["why"] == "a steward said that both are one person"
    assert merged["source"] is None
    assert "anonymous_id" in merged["types"]
    aside = found["event", False]
    assert aside["reason"] == "unique:user_id"
    assert "each side has a value of its own of user_id" in aside["why"]
    (other,) = {item["id"] for item in listed(caller, bob, "identifiers")} & set(aside["identities"])
    assert find(caller, "user_id", "bob")["id"] == bob
    assert caller.api("GET", f"/profiles/{other}", purpose=QUALITY)["id"] == bob
    nodes = list(connected(caller, ann, "links", "why accepted reason holds origin types decidedAt", 1))
    assert [node["why"] for node in nodes] == [link["why"] for link in listed(caller, ann, "links")]
    uses = [use["action"] for use in listed(caller, bob, "uses", RIGHTS)]
    assert "profile.links" in uses, "who was named in somebody's links learns of it"


def test_of_a_restrained_other_end_nothing_is_told_but_that_it_is_there(caller: Caller, ann: str) -> None:
    caller.send(
        identify("bob", email="bob.nobody@people.example", country="DE"), identify("bob", email=EMAIL)
    )
    restricted = {"identifiers": [{"type": "user_id", "value": "bob"}], "purpose": QUALITY}
    caller.api("POST", "/consents", {**restricted, "state": "restricted"})
    (aside,) = [link for link in listed(caller, ann, "links") if not link["accepted"]]
    assert sorted(aside["types"], key=str) == [None, "email"]
    assert (aside["reason"], aside["source"]) == ("unique", None)
    assert "of one type" in aside["why"]
    bob = find(caller, "user_id", "bob")["id"]
    for part in ("", "/identifiers", "/links", "/events", "/consents", "/uses"):
        caller.api("GET", f"/profiles/{bob}{part}", purpose=QUALITY, expect=403)


def test_a_plan_names_types_only_where_the_policies_let_them_be_seen(caller: Caller, ann: str) -> None:
    caller.send(identify("bob", email=EMAIL))
    asked = {"ids": [ann, find(caller, "user_id", "bob")["id"]]}
    for purpose, reason in ((QUALITY, "unique:user_id"), ("segmentation", "unique")):
        plan = caller.api("POST", "/profiles/merge", asked, purpose=purpose)
        assert plan["refused"] == {reason: 1}
        assert {one["reason"] for one in plan["set_aside"]} == {reason}
        refused = caller.api(
            "POST", "/profiles/merge", {**asked, "dry_run": False}, purpose=purpose, expect=409
        )
        assert "refuse this: unique;" in refused["detail"]


def test_of_somebody_restrained_a_refused_merge_tells_nothing(caller: Caller, ann: str) -> None:
    caller.send(identify("bob", email=EMAIL))
    asked = {"ids": [ann, find(caller, "user_id", "bob")["id"]], "dry_run": False}
    restricted = {"identifiers": [{"type": "user_id", "value": "bob"}], "purpose": QUALITY}
    caller.api("POST", "/consents", {**restricted, "state": "restricted"})
    caller.api("POST", "/profiles/merge", asked, purpose=QUALITY, expect=403)


def test_after_a_merge_the_older_ids_answer_for_the_survivor_and_after_a_split_each_for_its_own(
    caller: Caller, ann: str
) -> None:
    caller.send({"type": "track", "event": "Seen", "messageId": "s", "anonymousId": "browser"})
    device = {"type": "anonymous_id", "value": "browser"}
    seen = find(caller, *device.values())["id"]
    parts = ("", "/identifiers", "/events", "/links", "/consents")
    apart = {one: [listed_or(caller, one, part) for part in parts] for one in (ann, seen)}
    assert apart[ann] != apart[seen]
    caller.api("POST", "/profiles/merge", {"ids": [ann, seen], "dry_run": False}, purpose=QUALITY)
    together = [[listed_or(caller, one, part) for part in parts] for one in (ann, seen)]
    assert together[0] == together[1]
    assert together[0][0]["id"] == min(ann, seen, key=lambda one: one != together[0][0]["id"])
    assert together[0][0]["identities"] == 3
    query = "query($id: ID!) {profile(id: $id) {id identities traits provenance {trait}}}"
    assert ask(caller, query, id=ann) == ask(caller, query, id=seen)
    caller.api("POST", f"/profiles/{seen}/split", {"dry_run": False}, purpose=QUALITY)
    again = {one: [listed_or(caller, one, part) for part in parts] for one in (ann, seen)}
    for one in (ann, seen):
        assert [again[one][place] for place in (0, 1, 2, 4)] == [apart[one][place] for place in (0, 1, 2, 4)]
        assert ask(caller, query, id=one)["profile"]["id"] == one
    (merged,) = [link for link in again[seen][3] if link["origin"] == "merge" and link["holds"]]
    assert (merged["accepted"], merged["reason"]) == (False, "suppressed")
    assert merged["why"].endswith("but a steward took them apart")
    assert {link["holds"] for link in again[seen][3]} == {True, False}, "what was decided before stays told"


def listed_or(caller: Caller, profile: str, part: str) -> Any:
    if not part:
        return caller.api("GET", f"/profiles/{profile}", purpose=QUALITY)
    return listed(caller, profile, part[1:])


def test_long_lists_are_told_page_by_page_each_item_once(caller: Caller) -> None:
    devices = [
        {
            "type": "track",
            "event": "Seen",
            "messageId": f"d{n}",
            "userId": "many",
            "anonymousId": f"device-{n}",
        }
        for n in range(60)
    ]
    caller.send(identify("many", country="DE"), *devices)
    many = find(caller, "user_id", "many")["id"]
    for part, count, key in (("identifiers", 61, "id"), ("links", 60, "identities"), ("events", 61, "id")):
        items = listed(caller, many, part, limit=7)
        assert len({str(item[key]) for item in items}) == len(items) == count, part
        assert items == listed(caller, many, part)
        graphql = "identities" if part == "links" else "id"
        nodes = list(connected(caller, many, part, graphql, 25))
        assert [node[graphql] for node in nodes] == [item[key] for item in items]
        caller.api("GET", f"/profiles/{many}/{part}?cursor=W10", purpose=QUALITY, expect=400)
        caller.api("GET", f"/profiles/{many}/{part}?limit=501", purpose=QUALITY, expect=400)
    decided = [link["decided_at"] for link in listed(caller, many, "links")]
    assert decided == sorted(decided, reverse=True)
    uses = list(connected(caller, many, "uses", "index action", 10))
    assert [use["index"] for use in uses] == sorted({use["index"] for use in uses}, reverse=True)


def test_consents_are_told_with_reason_and_receipt(caller: Caller, ann: str) -> None:
    given = {"identifiers": [{"type": "user_id", "value": "ann"}], "purpose": MAIL, "state": "granted"}
    caller.api("POST", "/consents", given)
    states = {one["purpose"]: one for one in listed(caller, ann, "consents")}
    assert (states[MAIL]["state"], states[MAIL]["reason"]) == ("granted", "granted")
    assert caller.http.get(states[MAIL]["receipt"]).status_code in {200, 401}
    query = "query($id: ID!) {profile(id: $id) {consents {purpose state reason receipt}}}"
    shown = {one["purpose"]: one for one in ask(caller, query, id=ann)["profile"]["consents"]}
    assert list(shown) == list(states), "in the same order"
    assert shown[MAIL]["receipt"] == states[MAIL]["receipt"]


def test_the_states_that_are_kept_are_those_that_follow_from_the_records(
    caller: Caller, clock: FixedClock, ann: str
) -> None:
    """A portrait reads what is kept: reckoning them anew takes longer the more identifiers somebody has."""

    def same() -> dict[str, str]:
        services = caller.services
        with services.store.reading() as connection:
            number = services.identity.profile_of(connection, services.profile_ids.decode(ann))
            members = services.identity.consent_members(connection, [number])[number]
            reckoned = services.ledger.states_of(connection, members)
            assert services.ledger.kept_states(connection, number) == reckoned
        shown = {one["purpose"]: one["reason"] for one in listed(caller, ann, "consents", RIGHTS)}
        assert shown == {key: state.reason for key, state in reckoned.items()}
        return shown

    assert set(same().values()) == {"no_record"}
    person = {"identifiers": [{"type": "user_id", "value": "ann"}], "purpose": MAIL}
    soon = {"state": "granted", "expires_at": "2026-03-08T12:00:00Z"}
    caller.api("POST", "/consents", {**person, **soon})
    assert same()[MAIL] == "granted"
    clock.advance(8 * DAY)
    assert same()[MAIL] == "stale_expired"
    clock.advance(DAY)
    caller.api("POST", "/consents", {**person, "state": "granted"})
    caller.send({"type": "track", "event": "Seen", "messageId": "p", "anonymousId": "browser"})
    clock.advance(DAY)
    person["identifiers"] = [{"type": "anonymous_id", "value": "browser"}]
    caller.api("POST", "/consents", {**person, "state": "withdrawn"})
    seen = find(caller, "anonymous_id", "browser")["id"]
    caller.api("POST", "/profiles/merge", {"ids": [ann, seen], "dry_run": False}, purpose=QUALITY)
    assert same()[MAIL] == "withdrawn"
