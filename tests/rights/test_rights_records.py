"""The record of a request goes when its time is over; a log entry says how many, and of nobody whose."""

from __future__ import annotations

import msgspec
import pytest
from caller import Caller
from opendsr_desk import Desk, asked, signed, status_of
from rights_world import ended, introduce, opened, step
from sqlalchemy import func, select

from cdp.clock import DAY, FixedClock
from cdp.rights import Fulfilled
from cdp.rights.opendsr.tables import opendsr_requests
from cdp.rights.tables import rights_requests, rights_states

KEPT = 730
"""``keep_requests_days`` of policies/rights.yaml."""


@pytest.fixture
def ada(caller: Caller) -> str:
    """The address of somebody."""
    return introduce(caller, "ada")


def kept(caller: Caller) -> list[str]:
    with caller.services.store.reading() as connection:
        found = connection.execute(select(rights_requests.c.request_id)).scalars().all()
        stepped = connection.execute(select(rights_states.c.request_id).distinct()).scalars().all()
    assert sorted(found) == sorted(stepped)
    return sorted(found)


def test_a_record_goes_the_day_after_its_time(caller: Caller, clock: FixedClock, ada: str) -> None:
    request = ended(caller, opened(caller, ada, "access")["id"])["id"]
    clock.advance(KEPT * DAY)
    assert caller.services.records.forget() == 0
    assert kept(caller) == [request]
    clock.advance(DAY)
    caller.services.records.forget()  # or the clockwork has
    assert kept(caller) == []
    caller.api("GET", f"/rights/requests/{request}", expect=404)
    entries = caller.api("GET", "/audit?action=rights.forget")["items"]
    assert [(one["actor"], one["counts"], one["people"]) for one in entries] == [
        ("system", {"requests": 1}, {})
    ]


def test_an_open_one_stays(caller: Caller, clock: FixedClock, ada: str) -> None:
    request = opened(caller, ada, "rectification")["id"]
    clock.advance((KEPT + 1) * DAY)
    assert caller.services.records.forget() == 0
    assert kept(caller) == [request]


def test_one_that_restrains_somebody_who_is_known_stays(caller: Caller, clock: FixedClock, ada: str) -> None:
    request = ended(caller, opened(caller, ada, "restriction")["id"])["id"]
    clock.advance((KEPT + 1) * DAY)
    assert caller.services.records.forget() == 0
    step(caller, request, "lift", {"told_at": "2026-03-02T12:00:00Z"})
    ended(caller, opened(caller, ada, "erasure")["id"])
    caller.services.records.forget()
    assert request not in kept(caller)


def test_one_of_somebody_under_a_legal_hold_stays(caller: Caller, clock: FixedClock, ada: str) -> None:
    request = ended(caller, opened(caller, ada, "access")["id"])["id"]
    held = {"identifier": {"type": "email", "value": ada}, "reason": "regulator", "reference": "2026/17"}
    hold = caller.api("POST", "/legal-holds", held)["id"]
    clock.advance((KEPT + 1) * DAY)
    assert caller.services.records.forget() == 0
    assert kept(caller) == [request]
    caller.api("POST", f"/legal-holds/{hold}/lift")
    caller.services.records.forget()
    assert kept(caller) == []


def test_what_another_system_asked_goes_with_it(desk: Desk, clock: FixedClock) -> None:
    desk.people("ada")
    said = asked()
    signed(desk, desk.call("POST", "/v2/requests", raw=msgspec.json.encode(said)), 201)
    desk.hand.done = Fulfilled()
    desk.work()
    assert status_of(desk, said["subject_request_id"]) == "completed"
    clock.advance((KEPT + 1) * DAY)
    desk.caller.services.records.forget()
    assert kept(desk.caller) == []
    with desk.caller.services.store.reading() as connection:
        assert connection.execute(select(func.count()).select_from(opendsr_requests)).scalar_one() == 0
