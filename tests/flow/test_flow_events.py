"""From a pushed event to a profile: counted once, joined, folded, and taken apart again."""

from __future__ import annotations

import itertools
from typing import Any

from caller import Caller

from cdp.clock import FixedClock

PURPOSE = "data_quality"


def track(message_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Order Completed", "messageId": message_id, **fields}


def identify(message_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "identify", "messageId": message_id, **fields}


def events_of(caller: Caller, profile: dict[str, Any]) -> list[dict[str, Any]]:
    found = caller.api("GET", f"/profiles/{profile['id']}/events?limit=100", purpose=PURPOSE)["items"]
    assert isinstance(found, list)
    return found


def test_a_message_counts_once_however_often_it_is_sent(caller: Caller) -> None:
    message = track("m1", userId="u1", properties={"revenue": 10.0})
    caller.send(message, message)
    caller.send(message)
    assert len(events_of(caller, caller.lookup("user_id", "u1"))) == 1


def test_the_same_message_id_of_another_source_is_another_message(caller: Caller) -> None:
    caller.send(track("m1", userId="u1"))
    caller.send(track("m1", userId="u1"), kind="import")
    assert len(events_of(caller, caller.lookup("user_id", "u1"))) == 2


def test_a_bad_event_goes_to_quarantine_and_its_neighbours_land(caller: Caller) -> None:
    caller.send(track("m1", userId="u1"), track("m2"), {"type": "nonsense"}, track("m3", userId="u1"))
    assert len(events_of(caller, caller.lookup("user_id", "u1"))) == 2
    rejected = caller.api("GET", "/quarantine")["items"]
    assert sorted(item["reason"] for item in rejected) == ["no_identifier", "unknown_type"]


def test_anonymous_becomes_known_and_the_old_id_keeps_answering(caller: Caller) -> None:
    caller.send(track("m1", anonymousId="browser-1"))
    before = caller.lookup("anonymous_id", "browser-1")
    caller.send(track("m2", userId="u1"))
    known = caller.lookup("user_id", "u1")
    assert known["id"] != before["id"]
    caller.send(identify("m3", userId="u1", anonymousId="browser-1"))
    merged = caller.lookup("user_id", "u1")
    for old in (before, known):
        assert caller.api("GET", f"/profiles/{old['id']}", purpose=PURPOSE)["id"] == merged["id"]
    assert len(events_of(caller, merged)) == 3


def test_traits_fold_to_the_most_recent_and_sealed_ones_are_masked(caller: Caller) -> None:
    caller.send(
        identify("m1", userId="u1", timestamp="2026-02-01T00:00:00Z", traits={"country": "FR"}),
        identify("m2", userId="u1", timestamp="2026-01-01T00:00:00Z", traits={"country": "DE"}),
        identify("m3", userId="u1", timestamp="2026-01-01T00:00:00Z", traits={"firstName": "Fern"}),
    )
    profile = caller.api("GET", f"/profiles/{caller.lookup('user_id', 'u1')['id']}", purpose=PURPOSE)
    assert profile["traits"]["country"] == "FR"
    assert profile["traits"]["first_name"] is None
    assert "first_name" in profile["masked_fields"]


MESSAGES = [
    track("m1", anonymousId="a1", timestamp="2026-01-01T00:00:00Z"),
    identify("m2", anonymousId="a1", userId="u1", timestamp="2026-01-02T00:00:00Z"),
    identify("m3", anonymousId="a1", userId="u2", timestamp="2026-01-03T00:00:00Z"),
    identify("m4", userId="u2", timestamp="2026-01-04T00:00:00Z", traits={"email": "fern@mail.example"}),
    identify("m5", anonymousId="a2", userId="u1", timestamp="2026-01-05T00:00:00Z"),
]


def test_the_result_does_not_depend_on_arrival_order(caller: Caller) -> None:
    names = [("anonymous_id", "a1"), ("anonymous_id", "a2"), ("user_id", "u1"), ("user_id", "u2")]
    outcomes = set()
    for round_no, order in enumerate(itertools.islice(itertools.permutations(MESSAGES), 0, 120, 17)):
        for message in order:
            renamed = {
                key: f"{value}-{round_no}" if key in ("anonymousId", "userId", "messageId") else value
                for key, value in message.items()
            }
            if "traits" in renamed:
                renamed["traits"] = {"email": f"fern-{round_no}@mail.example"}
            caller.send(renamed)
        ids = [caller.lookup(kind, f"{value}-{round_no}")["id"] for kind, value in names]
        outcomes.add(tuple(ids.index(found) for found in ids))
    assert outcomes == {(0, 0, 0, 3)}


def test_a_split_is_planned_first_and_then_done_for_good(caller: Caller) -> None:
    link = identify("m1", userId="u1", anonymousId="a1")
    caller.send(link, track("m2", anonymousId="a1"))
    profile = caller.lookup("anonymous_id", "a1")
    identifiers = caller.api("GET", f"/profiles/{profile['id']}/identifiers", purpose=PURPOSE)["items"]
    browser = next(item["id"] for item in identifiers if item["type"] == "anonymous_id")
    planned = caller.api("POST", f"/profiles/{browser}/split", purpose=PURPOSE)
    assert planned["dry_run"] is True
    assert caller.lookup("user_id", "u1")["id"] == caller.lookup("anonymous_id", "a1")["id"]
    caller.api("POST", f"/profiles/{browser}/split", {"dry_run": False}, purpose=PURPOSE)
    assert caller.lookup("user_id", "u1")["id"] != caller.lookup("anonymous_id", "a1")["id"]
    caller.send({**link, "messageId": "m3"})
    assert caller.lookup("user_id", "u1")["id"] != caller.lookup("anonymous_id", "a1")["id"]


def test_quarantined_events_are_replayed_with_their_own_time(caller: Caller, clock: FixedClock) -> None:
    caller.send(track("m1"))
    assert len(caller.api("GET", "/quarantine")["items"]) == 1
    clock.advance(1_000_000)
    answer = caller.api("POST", "/quarantine/replay", {})
    assert answer["quarantined"] == 1
    assert len(caller.api("GET", "/quarantine")["items"]) == 1
