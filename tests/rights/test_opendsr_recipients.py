"""OpenDSR 2.0 towards recipients: told of erasures by the references they know, flagged when late."""

from __future__ import annotations

import msgspec
import prometheus_client
import pytest
from opendsr_desk import EMAIL, Desk, call_back, deliver, erase, from_controller, recipients, status_of, tell
from opendsr_world import Answer, Processor

from cdp.clock import DAY, SECOND, FixedClock
from cdp.rights.opendsr import queries


@pytest.fixture
def desk(telling: Desk) -> Desk:
    return telling


def test_whoever_received_a_person_is_asked_to_erase_them_by_the_reference_they_have(
    desk: Desk, mailer: Processor
) -> None:
    refs = deliver(desk, "ada", "bea")
    request_id = erase(desk, "ada")
    assert tell(desk) == 1
    (asked,) = mailer.posted()
    number = asked["subject_request_id"]
    assert number != request_id
    assert asked == {
        "api_version": "2.0",
        "regulation": "gdpr",
        "subject_request_id": number,
        "subject_request_type": "erasure",
        "submitted_time": "2026-03-01T12:00:00Z",
        "subject_identities": [
            {
                "identity_type": "controller_customer_id",
                "identity_value": refs["ada"],
                "identity_format": "raw",
            }
        ],
        "status_callback_urls": [f"https://cdp.example/v2/callbacks/{number}"],
    }
    posted = next(headers for method, _, headers, _ in mailer.calls if method == "POST")
    assert posted["authorization"] == "Bearer let-me-in"
    (shown,) = recipients(desk, request_id)
    assert (shown["destination"], shown["state"], shown["subject_request_id"]) == (
        "mailer",
        "pending",
        number,
    )
    assert shown["expected_at"] == "2026-03-08T12:00:00Z"
    assert not shown["late"]
    for status in ("in_progress", "completed"):
        mailer.status = status
        assert call_back(desk, mailer, number) == 202
        assert recipients(desk, request_id)[0]["state"] == status
    assert tell(desk) == 0


def test_nothing_is_sent_before_the_person_is_erased_here_or_if_they_are_not(
    desk: Desk, mailer: Processor
) -> None:
    deliver(desk, "ada")
    body = {"identifier": {"type": "user_id", "value": "user-ada"}, "kind": "erasure"}
    made = desk.caller.api("POST", "/rights/requests", body)
    assert tell(desk) == 0
    assert recipients(desk, made["id"])[0]["state"] == "queued"
    desk.services.rights.deny("key:1", made["id"], "excessive")
    assert tell(desk) == 0
    assert recipients(desk, made["id"])[0]["state"] == "cancelled"
    assert mailer.posted() == []


def test_what_is_to_be_told_is_sealed_until_it_is_taken_and_gone_then(desk: Desk, mailer: Processor) -> None:
    refs = deliver(desk, "ada")
    erase(desk, "ada")
    query = "SELECT payload FROM opendsr_children"
    with desk.services.store.reading() as connection:
        ((held,),) = connection.exec_driver_sql(query).all()
    assert refs["ada"].encode() not in bytes(held)
    tell(desk)
    with desk.services.store.reading() as connection:
        assert connection.exec_driver_sql(query).all() == [(None,)]
    assert len(mailer.posted()) == 1


def test_the_keys_of_the_person_may_be_gone_when_recipients_are_told(desk: Desk, mailer: Processor) -> None:
    refs = deliver(desk, "ada")
    request_id = erase(desk, "ada")
    with desk.services.store.reading() as connection:
        found = desk.services.identity.find(connection, "user_id", "user-ada")
        assert found is not None
        profile = desk.services.identity.profile_of(connection, found)
        numbers = desk.services.identity.members(connection, profile)
    desk.services.keyring.destroy(numbers, "person")
    assert tell(desk) == 1
    assert mailer.posted()[0]["subject_identities"][0]["identity_value"] == refs["ada"]
    assert recipients(desk, request_id)[0]["state"] == "pending"


def test_materialising_again_tells_nobody_twice(desk: Desk, mailer: Processor) -> None:
    deliver(desk, "ada", "bea")
    request_id = erase(desk, "ada")
    with desk.services.committer.batch() as batch:
        request = desk.services.rights.of_identity(batch.connection, desk.hand.asked[0].identity_no)[0]
        others = [desk.services.identity.find(batch.connection, "user_id", "user-bea") or 0]
        fan_out = desk.services.opendsr_fan_out
        fan_out.materialise(batch, request, request.identity_nos)
        assert len(queries.children_of(batch.connection, request_id)) == 1
        profile = desk.services.identity.profile_of(batch.connection, others[0])
        members = desk.services.identity.members(batch.connection, profile)
        fan_out.materialise(batch, request, [*request.identity_nos, *members])
    assert len(recipients(desk, request_id)) == 2
    assert mailer.posted() == []


def test_whoever_was_only_told_to_unlist_is_asked_to_erase(desk: Desk, mailer: Processor) -> None:
    deliver(desk, "ada")
    who = [{"type": "user_id", "value": "user-ada"}]
    desk.caller.api("POST", "/consents", {"identifiers": who, "purpose": EMAIL, "state": "withdrawn"})
    assert desk.services.outbox.issue() == 1
    erase(desk, "ada")
    assert tell(desk) == 1
    assert len(mailer.posted()) == 1


def test_nobody_is_told_of_whom_they_never_received(desk: Desk, mailer: Processor) -> None:
    desk.people("ada")
    request_id = erase(desk, "ada")
    assert tell(desk) == 0
    assert recipients(desk, request_id) == []
    assert mailer.calls == []


# -- a request of a controller waits for recipients ----------------------------------------------------


def test_a_request_is_completed_when_every_recipient_has_done_its_part(desk: Desk, mailer: Processor) -> None:
    deliver(desk, "ada")
    request_id = from_controller(desk, "ada")
    assert status_of(desk, request_id) == "in_progress"
    tell(desk)
    (asked,) = mailer.posted()
    mailer.status = "completed"
    call_back(desk, mailer, asked["subject_request_id"])
    assert status_of(desk, request_id) == "completed"


def test_a_recipient_that_is_late_is_flagged_and_holds_nothing_up(
    desk: Desk, mailer: Processor, clock: FixedClock
) -> None:
    deliver(desk, "ada")
    request_id = from_controller(desk, "ada")
    tell(desk)
    clock.advance(15 * DAY)
    assert status_of(desk, request_id) == "completed"
    desk.turn()
    (request,) = desk.caller.api("GET", "/rights/requests")["items"]
    shown = desk.caller.api("GET", f"/rights/requests/{request['id']}/opendsr")
    assert shown["controller"]["status"] == "completed"
    assert shown["recipients"][0]["late"]
    overview = desk.caller.api("GET", "/opendsr")
    assert overview["recipients"] == [
        {"destination": "mailer", "state": "pending", "late": True, "requests": 1}
    ]
    assert overview["callbacks"] == {}
    desk.services.opendsr_fan_out.observe()
    figures = prometheus_client.generate_latest().decode()
    assert 'cdp_opendsr_recipients{destination="mailer",late="true",state="pending"} 1.0' in figures
    mailer.status = "completed"
    call_back(desk, mailer, mailer.posted()[0]["subject_request_id"])
    assert not recipients(desk, request["id"])[0]["late"]


def test_a_lost_callback_is_made_up_for_by_asking(desk: Desk, mailer: Processor, clock: FixedClock) -> None:
    deliver(desk, "ada")
    request_id = erase(desk, "ada")
    tell(desk)
    mailer.status = "completed"
    assert tell(desk) == 0, "not before an hour"
    clock.advance(3601 * SECOND)
    assert tell(desk) == 1
    assert recipients(desk, request_id)[0]["state"] == "completed"


# -- recipients that fail ------------------------------------------------------------------------------


def test_a_recipient_that_is_down_is_asked_again_with_the_same_id(
    desk: Desk, mailer: Processor, clock: FixedClock
) -> None:
    deliver(desk, "ada")
    request_id = erase(desk, "ada")
    mailer.fails = [
        Answer(500),
        Answer(503, headers={"Retry-After": "900"}),
        Answer(302, headers={"Location": "/"}),
        Answer(500),
    ]
    for wait in (0, 10, 890):
        clock.advance(wait * SECOND)
        assert tell(desk) == 0
    assert len(mailer.posted()) == 2, "Retry-After is honoured"
    clock.advance(60 * SECOND)
    assert tell(desk) == 0, "a redirect is not followed"
    clock.jump(400 * DAY)
    assert tell(desk) == 0
    clock.jump(-400 * DAY)
    assert tell(desk) == 1, "put off by a clock that was ahead"
    assert len({one["subject_request_id"] for one in mailer.posted()}) == 1
    assert recipients(desk, request_id)[0]["state"] == "pending"


def test_a_lost_answer_is_no_refusal(desk: Desk, mailer: Processor, clock: FixedClock) -> None:
    """A processor that knows the id already answers 400, and then says where it stands."""
    deliver(desk, "ada")
    request_id = erase(desk, "ada")
    mailer.spoils = lambda body: b"lost" if b"encoded_request" in body else body
    tell(desk)
    mailer.spoils = bytes
    mailer.fails = [Answer(400)]
    clock.advance(10 * SECOND)
    assert tell(desk) == 1
    assert recipients(desk, request_id)[0]["state"] == "pending"


@pytest.mark.parametrize("known", [True, False])
def test_what_a_backup_brought_back_without_its_key_is_asked_about(
    desk: Desk, mailer: Processor, clock: FixedClock, *, known: bool
) -> None:
    deliver(desk, "ada")
    request_id = erase(desk, "ada")
    with desk.services.store.reading() as connection:
        ((payload,),) = connection.exec_driver_sql("SELECT payload FROM opendsr_children").all()
    tell(desk)
    with desk.services.committer.batch() as batch:
        (child,) = queries.children_of(batch.connection, request_id)
        before = msgspec.structs.replace(
            child, state="queued", payload=bytes(payload), next_attempt_at=clock.now()
        )
        queries.save_child(batch.connection, before)
    if not known:
        mailer.requests.clear()
    mailer.status = "completed"
    tell(desk)
    (shown,) = recipients(desk, request_id)
    assert (shown["state"], shown["last_error"]) == (("completed", "") if known else ("refused", "expired"))
    assert len(mailer.posted()) == 1


def test_a_refusal_is_shown_and_settles(desk: Desk, mailer: Processor) -> None:
    deliver(desk, "ada")
    mailer.fails = [Answer(400)]
    request_id = from_controller(desk, "ada")
    tell(desk)
    assert status_of(desk, request_id) == "completed"
    (request,) = desk.caller.api("GET", "/rights/requests")["items"]
    (shown,) = recipients(desk, request["id"])
    assert (shown["state"], shown["last_error"]) == ("refused", "http_400")


def test_one_that_never_answers_has_failed(desk: Desk, mailer: Processor, clock: FixedClock) -> None:
    deliver(desk, "ada")
    request_id = erase(desk, "ada")
    mailer.fails = [Answer(401)] * 20
    for _ in range(11):
        tell(desk)
        clock.advance(int(1.3 * DAY))
    (shown,) = recipients(desk, request_id)
    assert (shown["state"], shown["last_error"], shown["attempts"]) == ("failed", "http_401", 10)


def test_one_that_does_not_erase_is_not_sent_anything(desk: Desk, mailer: Processor) -> None:
    deliver(desk, "ada")
    request_id = erase(desk, "ada")
    mailer.kinds = ["access"]
    tell(desk)
    assert recipients(desk, request_id)[0]["last_error"] == "unsupported"
    assert mailer.posted() == []
