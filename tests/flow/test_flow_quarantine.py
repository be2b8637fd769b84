"""Failed events over HTTP: each reason and its row, shapes, replays, dry runs, discards, retention."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from caller import Caller

from cdp.clock import DAY, FixedClock, rfc3339
from cdp.ingest import Classifier

ADA = "ada@people.example"
FAILING: dict[tuple[str, str], Any] = {
    ("tracker_protocol_violation", "malformed"): 7,
    ("tracker_protocol_violation", "unknown_type"): {"type": "dance"},
    ("tracker_protocol_violation", "no_identifier"): {"userId": None},
    ("tracker_protocol_violation", "bad_identifier"): {"userId": [ADA]},
    ("tracker_protocol_violation", "bad_name"): {"type": "track"},
    ("tracker_protocol_violation", "timestamp_out_of_range"): {"timestamp": "2026-04-01T00:00:00Z"},
    ("size_violation", "size_violation"): {"properties": {"text": "x" * 40_000}},
    ("generic_error", "unexpected"): {"name": "Poison"},
}


def page(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "page", "name": "Home", "messageId": f"m{number}", "userId": f"u{number}", **more}


def reasons(caller: Caller, query: str = "") -> list[str]:
    return [item["reason"] for item in caller.api("GET", f"/quarantine?limit=100{query}")["items"]]


def balance(caller: Caller) -> dict[str, int]:
    found = caller.api("GET", "/sources/test-server/counts")
    assert found["balanced"] is True, found
    return {name: count for name, count in found["total"].items() if count}


def poisoned(self: Classifier, event: Any) -> Any:
    if event.name == "Poison":
        raise RuntimeError
    return CLASSIFY(self, event)


CLASSIFY = Classifier.__call__


def test_every_reason_its_row_its_shape_and_its_replay(
    caller: Caller, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "__call__", poisoned)
    for number, ((kind, reason), wrong) in enumerate(FAILING.items()):
        message: Any = wrong if isinstance(wrong, int) else page(number, **wrong)
        caller.send(message)  # each call has its own time
        clock.advance(1)
        item = caller.api("GET", f"/quarantine?reason={reason}")["items"][-1]
        assert (item["kind"], item["reason"], item["source"]) == (kind, reason, "test-server")
        shown = caller.api("GET", f"/quarantine/{item['id']}")
        assert shown["cause"] == item["cause"]
        assert shown["shape"]
        assert ADA not in msgspec.json.encode(shown).decode()
    assert len(reasons(caller)) == len(FAILING) == balance(caller)["quarantined"]
    assert len(reasons(caller, "&kind=tracker_protocol_violation")) == 6
    counted = caller.api("GET", "/quarantine/counts?kind=size_violation")["items"]
    assert [(one["reason"], one["messages"], one["source"]) for one in counted] == [
        ("size_violation", 1, "test-server")
    ]
    text = next(one for one in caller.api("GET", "/quarantine?kind=size_violation")["items"])
    shape = caller.api("GET", f"/quarantine/{text['id']}")["shape"]
    assert {"place": "properties.text", "type": "string", "size": 40_000} in shape

    # What is put right lands with the id and time of before; a dry run says so and stores nothing.
    monkeypatch.setattr(Classifier, "__call__", CLASSIFY)
    clock.advance(40 * DAY // 2)
    ahead = "/quarantine?reason=timestamp_out_of_range"
    ids = [item["id"] for item in caller.api("GET", ahead)["items"]]
    for dry in (True, False):
        body = {"kind": "generic_error", "dry_run": dry}
        answer = caller.api("POST", "/quarantine/replay", body)
        assert (answer["received"], answer["stored"], answer["next"]) == (1, 1, None)
        assert len(reasons(caller)) == len(FAILING) - (not dry)
        again = caller.api(
            "POST", "/quarantine/replay", {"kind": "tracker_protocol_violation", "dry_run": dry}
        )
        assert again["reasons"] == {name: 1 for kind, name in FAILING if kind.startswith("tracker")}
    clock.advance(9 * DAY)
    assert reasons(caller, "&reason=unexpected") == []
    profile = caller.lookup("user_id", "u7")["id"]
    (event,) = caller.api("GET", f"/profiles/{profile}/events", purpose="data_quality")["items"]
    assert event["received_at"] == "2026-03-01T12:00:00.000007Z"
    answer = caller.api("POST", "/quarantine/replay", {"ids": ids, "source": "test-server"})
    assert answer["reasons"] == {"timestamp_out_of_range": 1}  # it is judged by when it was received
    assert balance(caller) == {
        "received": 8, "stored": 1, "quarantined": 7, "waiting": 7, "replayed": 8,
    }  # fmt: skip

    # A steward discards, which is on record; the rest goes with its key.
    caller.api("POST", "/quarantine/discard", {}, expect=400)
    assert caller.api("POST", "/quarantine/discard", {"ids": ids}) == {"discarded": 1}
    (entry,) = caller.api("GET", "/audit?action=quarantine.discard")["items"]
    assert entry["counts"] == {"discarded": 1}
    clock.advance(3 * DAY)
    with caller.services.committer.batch() as batch:
        assert caller.services.quarantine.forget(batch) == 7
    held = balance(caller)
    assert (held["quarantined"], held["discarded"], held["expired"]) == (7, 1, 6)
    assert reasons(caller) == []


def test_who_may_and_what_is_no_choice(caller: Caller) -> None:
    caller.send(page(1, userId=None))
    marketer, steward = (caller.officer(role, roles=(role,)) for role in ("marketer", "steward"))
    (item,) = caller.api("GET", "/quarantine", key=steward)["items"]
    for method, path, body in (
        ("GET", "/quarantine", None),
        ("GET", "/quarantine/counts", None),
        ("GET", f"/quarantine/{item['id']}", None),
        ("POST", "/quarantine/replay", {}),
        ("POST", "/quarantine/discard", {"kind": "x"}),
    ):
        caller.api(method, path, body, key=marketer, expect=403)
        caller.api(method, path, body, key=steward)
    for path in ("/quarantine/x", "/quarantine/99999999999999999999", "/quarantine?from=yesterday"):
        caller.api("GET", path, expect=400)
    caller.api("GET", "/quarantine/1", expect=404)
    caller.api("GET", "/quarantine?source=nobody", expect=404)
    for wrong in (
        {"limit": 0},
        {"limit": 10_001},
        {"after": "x"},
        {"ids": ["-1"]},
        {"to": "now"},
        {"odd": 1},
    ):
        caller.api("POST", "/quarantine/replay", wrong, expect=400)


def test_a_long_replay_goes_on_page_by_page(caller: Caller, clock: FixedClock) -> None:
    caller.send(*(page(n, userId=None) for n in range(5)))
    after: str | None = None
    seen: list[int] = []
    while not seen or after is not None:
        answer = caller.api("POST", "/quarantine/replay", {"limit": 2, "after": after})
        seen, after = [*seen, answer["received"]], answer["next"]
    assert seen == [2, 2, 1]
    days = f"from={rfc3339(clock.now())}&to={rfc3339(clock.now() + 1)}"
    assert len(reasons(caller, f"&{days}")) == 5
    assert reasons(caller, f"&to={rfc3339(clock.now())}") == []
    assert caller.api(
        "POST", "/quarantine/discard", {"source": "test-server", "from": rfc3339(clock.now())}
    ) == {"discarded": 5}
