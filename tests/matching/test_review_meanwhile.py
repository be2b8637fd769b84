"""A pair is decided once, whatever happens in between: a run that settles, another steward, a split."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from caller import Caller
from people import Person, are_one, profile, run
from scripted import LIKELY, SURE, Scripted, entries, people, rows, scripted
from sqlalchemy import text

from cdp.clock import SECOND, FixedClock
from cdp.errors import CdpError
from cdp.identity import propose
from cdp.matching import Decision, outcome, queries
from cdp.matching.tables import match_pairs

core = pytest.fixture(scripted, name="core")
QUEUE = "/identity/review"


@pytest.fixture(autouse=True)
def _likely(core: Scripted) -> None:
    core.weight = LIKELY


class Other:
    """Another steward, who decides in a thread of their own."""

    def __init__(self, caller: Caller, pair: str, decision: Decision) -> None:
        self._caller = caller
        self._thread = threading.Thread(target=self._decide, args=(pair, decision), daemon=True)
        self.answer = ""

    def _decide(self, pair: str, decision: Decision) -> None:
        try:
            self.answer = self._caller.services.review_queue.decide("key:9", pair, decision)[0]
        except CdpError as error:
            self.answer = type(error).__name__

    def begin(self) -> None:
        """Begin, and return when the decision is made or waits for whoever holds what it needs."""
        self._thread.start()
        if self._caller.services.store.single_writer:
            return  # it waits for the one writer
        while self._thread.is_alive() and not self._waits():
            time.sleep(0.005)

    def _waits(self) -> bool:
        query = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with self._caller.services.store.reading() as connection:
            return bool(connection.execute(text(query)).scalar())

    def end(self) -> str:
        """Return what was decided, or the name of what stood against it."""
        self._thread.join()
        return self.answer


def the_pair(caller: Caller) -> dict[str, Any]:
    (pair,) = caller.api("GET", QUEUE)["items"]
    assert isinstance(pair, dict)
    return pair


def before(wrapped: Callable[..., Any], act: Callable[[], object]) -> Callable[..., Any]:
    """Return a function that acts once before it does what ``wrapped`` does."""
    acts = iter([act])

    def then(*given: Any, **named: Any) -> Any:
        next(acts, lambda: None)()
        return wrapped(*given, **named)

    return then


def states(caller: Caller) -> list[str]:
    return [row.state for row in rows(caller, match_pairs)]


def test_a_rejection_waits_for_the_link_that_is_being_made(
    caller: Caller, core: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(caller, 1)
    run(caller)
    other = Other(caller, the_pair(caller)["id"], "reject")
    core.weight = SURE
    monkeypatch.setattr(outcome, "propose", before(propose, other.begin))
    assert run(caller, full=True)["linked"] == 1
    assert (other.end(), states(caller)) == ("ConflictError", ["linked"])
    assert are_one(caller, 1)


def test_a_rejection_is_not_put_into_the_queue_again(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    people(caller, 1)
    run(caller)
    other = Other(caller, the_pair(caller)["id"], "reject")
    monkeypatch.setattr(queries, "put_pairs", before(queries.put_pairs, other.begin))
    run(caller, full=True)
    assert (other.end(), states(caller)) == ("rejected", ["rejected"])
    assert caller.api("GET", QUEUE)["items"] == []


def test_an_acceptance_that_comes_after_a_rejection_links_nobody(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(caller, 1)
    run(caller)
    pair = the_pair(caller)["id"]
    other = Other(caller, pair, "reject")
    queue = caller.services.review_queue

    def rejected() -> None:
        other.begin()
        assert other.end() == "rejected"

    monkeypatch.setattr(queue, "_merge", before(queue._merge, rejected))
    caller.api("POST", f"{QUEUE}/{pair}", {"decision": "accept"}, expect=409)
    assert states(caller) == ["rejected"]
    assert not are_one(caller, 1)
    assert entries(caller, action="identity.merge") == []


def test_of_two_who_accept_one_does(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    people(caller, 1)
    run(caller)
    pair = the_pair(caller)["id"]
    other = Other(caller, pair, "accept")
    monkeypatch.setattr(queries, "settle", before(queries.settle, other.begin))
    assert caller.api("POST", f"{QUEUE}/{pair}", {"decision": "accept"})["state"] == "accepted"
    assert other.end() == "ConflictError"
    assert states(caller) == ["accepted"]
    assert len(entries(caller, action="identity.merge")) == 1


def _wrongly_one(caller: Caller, clock: FixedClock) -> str:
    """Have a run find b ~ c, where b is held for one with somebody else; returns the id of b."""
    ada = Person(1)
    caller.send({"type": "identify", "userId": "wrong", "traits": {"email": "wrong@people.example"}})
    clock.advance(SECOND)
    caller.send({**ada.newsletter(), "anonymousId": "b"})
    b = profile(caller, "anonymous_id", "b")
    clock.advance(SECOND)
    caller.send({"type": "identify", "userId": "wrong", "anonymousId": "b"})
    clock.advance(SECOND)
    caller.send({**ada.newsletter(), "anonymousId": "c"})
    run(caller)
    assert b in the_pair(caller)["id"].split(".")
    return b


def carve(caller: Caller, identity: str) -> None:
    body = {"identities": [identity], "dry_run": False}
    caller.api("POST", f"/profiles/{identity}/split", body, purpose="data_quality")


def homes(caller: Caller) -> tuple[str, ...]:
    named = (("user_id", "wrong"), ("anonymous_id", "b"), ("anonymous_id", "c"))
    return tuple(profile(caller, *one) for one in named)


def test_accepting_links_the_two_of_the_pair_and_nobody_beside_them(
    caller: Caller, clock: FixedClock
) -> None:
    b = _wrongly_one(caller, clock)
    caller.api("POST", f"{QUEUE}/{the_pair(caller)['id']}", {"decision": "accept"})
    assert len(set(homes(caller))) == 1
    carve(caller, b)
    wrong, _, c = homes(caller)
    assert c != wrong, "c was taken for b, never for whom b was taken for"


def test_a_split_between_the_look_and_the_acceptance_keeps_who_left_apart(
    caller: Caller, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = _wrongly_one(caller, clock)
    queue = caller.services.review_queue
    monkeypatch.setattr(queue, "_merge", before(queue._merge, lambda: carve(caller, b)))
    caller.api("POST", f"{QUEUE}/{the_pair(caller)['id']}", {"decision": "accept"})
    wrong, home, c = homes(caller)
    assert (c == home, c == wrong) == (True, False)


def test_an_old_device_that_is_carved_out_takes_nothing_of_an_acceptance(caller: Caller) -> None:
    caller.send({"type": "track", "event": "x", "anonymousId": "old"})
    old = profile(caller, "anonymous_id", "old")
    caller.send({"type": "track", "event": "x", "anonymousId": "old", "userId": "shop-1"})
    people(caller, 1)
    run(caller)
    caller.api("POST", f"{QUEUE}/{the_pair(caller)['id']}", {"decision": "accept"})
    assert are_one(caller, 1)
    carve(caller, old)
    assert are_one(caller, 1)
    assert profile(caller, "anonymous_id", "old") != profile(caller, "user_id", "shop-1")


def test_what_no_longer_holds_leaves_the_queue_page_by_page(
    caller: Caller, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(caller, *range(1, 8))
    run(caller)
    assert states(caller) == ["open"] * 7
    monkeypatch.setattr(outcome, "_TIDIED", 2)
    clock.advance(SECOND)
    caller.send(*(Person(number).newsletter(birthday=f"190{number}-01-01") for number in range(1, 7)))
    run(caller)
    assert states(caller) == ["open"]
    assert profile(caller, "user_id", "shop-7") in the_pair(caller)["profiles"]
