"""Which steps a request takes, and which it never does, whoever races and whatever the clock says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from caller import Caller
from rights_world import actions, body, ended, introduce, opened, read, step

from cdp.clock import DAY, SECOND, FixedClock, rfc3339
from cdp.errors import ConflictError
from cdp.rights import OPEN, STATES, TRANSITIONS, Denied, Fulfilled, RequestState, RightsRequest
from cdp.rights.work import LEASE, Work

ALLOWED: Mapping[RequestState, set[RequestState]] = {
    "received": {"identity_check", "in_progress", "denied", "cancelled"},
    "identity_check": {"in_progress", "denied", "cancelled", "expired"},
    "in_progress": {"fulfilled", "denied", "cancelled"},
    "fulfilled": set(),
    "denied": set(),
    "cancelled": set(),
    "expired": set(),
}
VERBS: Mapping[str, tuple[object, RequestState]] = {
    "verify": ({"method": "document"}, "in_progress"),
    "deny": ({"reason": "unfounded"}, "denied"),
    "cancel": (None, "cancelled"),
    "complete": (None, "fulfilled"),
}


@pytest.fixture
def ada(caller: Caller) -> Caller:
    introduce(caller, "ada")
    return caller


def standing_at(caller: Caller, clock: FixedClock, state: RequestState) -> str:
    """Return a request that stands there; a rectification, as nothing works on it by itself."""
    checked = state not in {"identity_check", "expired"}
    request: str = opened(caller, "ada@people.example", "rectification", verified=checked)["id"]
    for verb, (said, reached) in VERBS.items():
        if reached == state != "in_progress":
            step(caller, request, verb, said)
    if state == "expired":
        clock.advance(400 * DAY)
        assert ended(caller, request)["state"] == "expired"
    return request


def test_the_table_of_transitions() -> None:
    assert {state: set(following) for state, following in TRANSITIONS.items()} == ALLOWED
    assert {"received", "identity_check", "in_progress"} == OPEN
    assert set(STATES) == ALLOWED.keys()


@pytest.mark.parametrize("state", [state for state in STATES if state != "received"])
def test_every_verb_leads_where_the_table_says_or_nowhere(
    ada: Caller, clock: FixedClock, state: RequestState
) -> None:
    for verb, (said, reached) in VERBS.items():
        request = standing_at(ada, clock, state)
        before = read(ada, request)
        assert before["state"] == state
        if reached in ALLOWED[state]:
            assert step(ada, request, verb, said)["state"] == reached
            assert [one["state"] for one in read(ada, request)["steps"]][-2:] == [state, reached]
        else:
            step(ada, request, verb, said, expect=409)
            assert read(ada, request) == before
        if read(ada, request)["state"] in OPEN:
            step(ada, request, "cancel")


def test_of_two_that_race_one_wins_and_the_other_is_told(ada: Caller) -> None:
    service = ada.services.rights
    for _ in range(5):
        request = opened(ada, "ada@people.example", "rectification")["id"]
        outcomes: list[str] = []
        together = threading.Barrier(2)

        def run(
            verb: Callable[[], object], together: threading.Barrier = together, said: list[str] = outcomes
        ) -> None:
            together.wait()
            try:
                verb()
                said.append("done")
            except ConflictError:
                said.append("told")

        verbs: list[Callable[[], object]] = [
            lambda request=request: service.deny("test", request, "excessive"),  # type: ignore[misc]  # bound now
            lambda request=request: service.cancel("test", request),  # type: ignore[misc]  # bound now
        ]
        threads = [threading.Thread(target=run, args=(verb,)) for verb in verbs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["done", "told"]
        assert len(read(ada, request)["steps"]) == 3


def test_a_clock_that_is_set_back_moves_no_time_of_a_request(ada: Caller, clock: FixedClock) -> None:
    made = opened(ada, "ada@people.example", "rectification", verified=False)
    clock.advance(-30 * DAY)
    verified = step(ada, made["id"], "verify", {"method": "signed_in"})
    assert verified["since"] == made["since"]
    assert verified["due_at"] >= made["due_at"]
    assert verified["due"] == "ok"
    cancelled = step(ada, made["id"], "cancel")
    assert cancelled["due_at"] == verified["due_at"]
    times = [one["at"] for one in read(ada, made["id"])["steps"]]
    assert times == sorted(times)
    newer = opened(ada, "ada@people.example", "rectification")
    assert newer["opened_at"] == rfc3339(clock.now())


def test_an_extension_is_given_once_in_time_and_on_record(ada: Caller, clock: FixedClock) -> None:
    introduce(ada, "bea", country="Germany")
    made = opened(ada, "bea@people.example", "rectification")
    clock.advance(20 * DAY)
    later = step(ada, made["id"], "extend", {"reason": "complexity"})
    assert (made["due_at"], later["due_at"]) == ("2026-04-01T21:59:59Z", "2026-06-01T21:59:59Z")
    assert (later["state"], later["since"], later["extended"]) == ("in_progress", made["since"], True)
    steps = read(ada, made["id"])["steps"]
    assert [(one["state"], one["reason"]) for one in steps] == [
        ("received", None),
        ("in_progress", None),
        ("in_progress", "complexity"),
    ]
    step(ada, made["id"], "extend", {"reason": "complexity"}, expect=409)
    assert "rights.extend" in actions(ada, "bea")
    step(ada, made["id"], "cancel")
    late = opened(ada, "bea@people.example", "rectification")
    clock.advance(40 * DAY)
    step(ada, late["id"], "extend", {"reason": "complexity"}, expect=409)
    step(ada, late["id"], "extend", {"reason": "<b>I am busy</b>"}, expect=400)
    # somebody who may live anywhere may live where no extension is known
    anywhere = opened(ada, "ada@people.example", "rectification", verified=False)
    step(ada, anywhere["id"], "extend", {"reason": "complexity"}, expect=409)


def test_the_deadline_is_that_of_where_the_person_is_known_to_be(ada: Caller) -> None:
    introduce(ada, "cai", country="China")
    introduce(ada, "dan", country="Germany")
    unchecked = opened(ada, "dan@people.example", "rectification", verified=False)
    strictest = opened(ada, "cai@people.example", "rectification")["due_at"]
    assert unchecked["due_at"] == strictest == "2026-03-20T22:59:59Z"  # 15 working days
    assert step(ada, unchecked["id"], "verify", {"method": "document"})["due_at"] == "2026-04-01T21:59:59Z"
    assert unchecked["acknowledge_by"] == "2026-03-13T22:59:59Z"  # California might be where they live


def test_the_list_is_filtered_by_state_kind_and_urgency(ada: Caller, clock: FixedClock) -> None:
    introduce(ada, "bea", country="Germany")
    introduce(ada, "dan", country="Germany")
    old = opened(ada, "bea@people.example", "access", verified=False)["id"]
    clock.advance(12 * DAY)
    new = opened(ada, "dan@people.example", "rectification")["id"]
    over = opened(ada, "ada@people.example", "rectification")["id"]
    step(ada, over, "deny", {"reason": "unfounded"})

    def found(query: str) -> set[str]:
        return {item["id"] for item in ada.api("GET", f"/rights/requests?{query}")["items"]}

    assert found("state=denied") == {over}
    assert found("kind=access") == {old}
    assert found("due=soon") == {old}
    assert found("due=ok") == {new}
    assert found("due=ok&kind=access") == set()
    assert read(ada, old)["reminder"] == 50
    clock.advance(10 * DAY)
    assert found("due=late") == {old}
    assert read(ada, old)["due"] == "late"
    assert read(ada, over)["due"] is None
    for wrong in ("state=lost", "kind=everything", "due=never"):
        ada.api("GET", f"/rights/requests?{wrong}", expect=400)


# -- work ---------------------------------------------------------------------------------------------


class Fulfiller:
    """Does what a test says at each call."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls = 0

    def __call__(self, _: RightsRequest) -> Fulfilled | Denied | None:
        self.calls += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert answer is None or isinstance(answer, Fulfilled | Denied)
        return answer


@pytest.fixture
def waiting(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> tuple[Caller, str]:
    """A request on which only the workers of the test work."""
    monkeypatch.setattr(ada.services.rights._work, "advance", lambda: 0)
    made = ada.services.rights.open("test", number(ada), "portability", "officer")
    return ada, made.request_id


def number(caller: Caller) -> int:
    with caller.services.store.reading() as connection:
        found = caller.services.identity.find(connection, "email", "ada@people.example")
    assert found is not None
    return found


def test_work_is_done_again_until_it_is_done(waiting: tuple[Caller, str], clock: FixedClock) -> None:
    caller, request = waiting
    work = Fulfiller(None, OSError("secret"), Fulfilled(result={"archive": "x"}))
    service = caller.services.rights
    crew = Work(caller.services.committer, service._steps, clock, {"portability": work})
    assert crew.advance() == 0  # not yet
    assert crew.advance() == 0  # failed: held for a while
    assert crew.advance() == 0
    assert work.calls == 2
    clock.advance(LEASE)
    assert crew.advance() == 1
    assert (read(caller, request)["state"], read(caller, request)["result"]) == (
        "fulfilled",
        {"archive": "x"},
    )
    assert crew.advance() == 0


def test_only_one_of_two_processes_works_and_a_clock_set_back_stops_none(
    waiting: tuple[Caller, str], clock: FixedClock
) -> None:
    caller, request = waiting
    service = caller.services.rights
    second = Fulfiller(Denied("legal_hold"))
    other = Work(caller.services.committer, service._steps, clock, {"portability": second})

    def meanwhile(_: RightsRequest) -> None:
        assert other.advance() == 0

    assert Work(caller.services.committer, service._steps, clock, {"portability": meanwhile}).advance() == 0
    failing = Fulfiller(OSError())
    assert Work(caller.services.committer, service._steps, clock, {"portability": failing}).advance() == 0
    clock.advance(-DAY)
    assert other.advance() == 1
    assert (read(caller, request)["state"], read(caller, request)["reason"]) == ("denied", "legal_hold")


def test_work_that_a_clock_set_forward_took_from_its_process_ends_once(
    waiting: tuple[Caller, str], clock: FixedClock
) -> None:
    caller, request = waiting
    service, second = caller.services.rights, Fulfiller(Fulfilled())
    other = Work(caller.services.committer, service._steps, clock, {"portability": second})

    def meanwhile(_: RightsRequest) -> Fulfilled:
        clock.jump(DAY)
        assert other.advance() == 1
        clock.jump(-DAY)
        return Fulfilled()

    assert Work(caller.services.committer, service._steps, clock, {"portability": meanwhile}).advance() == 0
    assert (second.calls, other.advance()) == (1, 0)
    steps = read(caller, request)["steps"]
    assert [one["state"] for one in steps].count("fulfilled") == 1
    assert [one["at"] for one in steps] == sorted(one["at"] for one in steps)


def test_an_erasure_that_has_begun_is_not_taken_back(
    ada: Caller, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ada.services.rights
    monkeypatch.setattr(service._work, "advance", lambda: 0)
    made = service.open("test", number(ada), "erasure", "officer")
    begun = Fulfiller(None, Fulfilled())
    crew = Work(ada.services.committer, service._steps, clock, {"erasure": begun})
    assert crew.advance() == 0
    for verb in ("cancel", "deny"):
        step(ada, made.request_id, verb, VERBS[verb][0], expect=409)
    crew.advance()
    assert read(ada, made.request_id)["state"] == "fulfilled"


def test_listeners_hear_each_step_and_one_that_fails_undoes_it(ada: Caller) -> None:
    service = ada.services.rights
    heard: list[RequestState] = []
    service.on_change.append(lambda _, request: heard.append(request.state))
    made = opened(ada, "ada@people.example", "rectification", verified=False)["id"]
    assert heard == ["received", "identity_check"]

    def fail(*_: object) -> None:
        raise RuntimeError

    service.on_change.append(fail)
    step(ada, made, "cancel", expect=500)
    service.on_change.remove(fail)
    assert read(ada, made)["state"] == "identity_check"


def test_every_step_is_on_record_about_the_person(ada: Caller, clock: FixedClock) -> None:
    made = opened(ada, "ada@people.example", "rectification", verified=False)["id"]
    for verb in ("verify", "deny"):
        clock.advance(SECOND)
        step(ada, made, verb, VERBS[verb][0])
    other = opened(ada, "ada@people.example", "rectification")["id"]
    step(ada, other, "cancel")
    assert {"rights.open", "rights.verify", "rights.deny", "rights.cancel"} <= set(actions(ada, "ada"))


def test_what_is_wrong_is_refused(ada: Caller) -> None:
    request = opened(ada, "ada@people.example", "rectification", verified=False)["id"]
    for verb, said in (
        ("verify", {"method": "=HYPERLINK()"}),
        ("verify", {}),
        ("deny", {"reason": "because <script>"}),
        ("deny", {"reason": "\u202eunfounded"}),
        ("deny", {"reason": "unfounded", "note": "free text"}),
        ("extend", {"reason": "vacation"}),
    ):
        step(ada, request, verb, said, expect=400)
        step(ada, "r_unknown", verb, VERBS.get(verb, ({"reason": "complexity"}, ""))[0], expect=404)
    ada.api("POST", "/rights/requests", body("ada@people.example", "access", purpose="nope"), expect=400)
    marketer = ada.officer("m", roles=("marketer",))
    ada.api("POST", f"/rights/requests/{request}/cancel", key=marketer, expect=403)
    assert read(ada, request)["state"] == "identity_check"
