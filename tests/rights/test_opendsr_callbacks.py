"""OpenDSR 2.0 as processor: controllers are called back at every change, signed, never inside a network."""

from __future__ import annotations

import msgspec
from opendsr_desk import Controller, Desk, asked
from opendsr_world import Answer, signed_by

from cdp.clock import DAY, SECOND, FixedClock
from cdp.rights import Fulfilled


def test_every_change_is_told_to_every_address_and_signed(
    desk: Desk, controller: tuple[Controller, str]
) -> None:
    desk.people("ada")
    made, base = controller
    urls = [f"{base}/cb?tenant={number}" for number in range(10)]
    body = asked(status_callback_urls=urls)
    assert desk.call("POST", "/v2/requests", body).status_code == 201
    assert desk.turn() == 0, "that it is pending was answered"
    desk.work()
    assert desk.turn() == 10
    desk.hand.done = Fulfilled()
    desk.work()
    assert desk.turn() == 10
    assert desk.turn() == 0
    assert made.statuses() == ["in_progress"] * 10 + ["completed"] * 10
    certificate = desk.call("GET", "/v2/certificate.pem", key="").content
    told = set()
    for headers, raw in made.calls:
        assert headers["content-type"] == "application/json"
        assert headers["x-opendsr-processor-domain"] == "cdp.example"
        assert signed_by(certificate, raw, headers["x-opendsr-signature"])
        said = msgspec.json.decode(raw)
        assert said["subject_request_id"] == body["subject_request_id"]
        assert said["controller_id"] == desk.key_id
        assert "expected_completion_time" in said
        told.add(said["status_callback_url"])
    assert told == set(urls)
    (request,) = desk.caller.api("GET", "/rights/requests")["items"]
    shown = desk.caller.api("GET", f"/rights/requests/{request['id']}/opendsr")
    assert {one["state"] for one in shown["controller"]["callbacks"]} == {"sent"}
    with desk.services.store.reading() as connection:
        (row,) = connection.exec_driver_sql("SELECT callbacks FROM opendsr_requests").all()
    assert row[0] is None, "nobody is left to call"


def test_a_callback_that_fails_is_made_again_and_then_shown_as_failed(
    desk: Desk, controller: tuple[Controller, str], clock: FixedClock
) -> None:
    desk.people("ada")
    made, base = controller
    made.answers = [Answer(307, headers={"Location": f"{base}/cb"}), Answer(500), Answer(500), Answer(200)]
    desk.call("POST", "/v2/requests", asked(status_callback_urls=[f"{base}/cb"]))
    desk.work()
    assert desk.turn() == 0
    assert desk.turn() == 0, "not before its time"
    assert len(made.calls) == 1, "a redirect is not followed"
    clock.advance(7 * SECOND)
    assert desk.turn() == 0
    clock.jump(400 * DAY)
    assert desk.turn() == 0
    clock.jump(-400 * DAY)
    assert desk.turn() == 1, "put off by a clock that was ahead"
    made.answers = [Answer(400)]
    desk.hand.done = Fulfilled()
    desk.work()
    for _ in range(11):
        desk.turn()
        clock.advance(2 * DAY)
    (request,) = desk.caller.api("GET", "/rights/requests")["items"]
    *_, last = desk.caller.api("GET", f"/rights/requests/{request['id']}/opendsr")["controller"]["callbacks"]
    assert (last["status"], last["state"], last["last_error"], last["attempts"]) == (
        "completed",
        "failed",
        "http_400",
        10,
    )


def test_what_was_tried_in_vain_gives_way_to_what_is_newer(
    desk: Desk, controller: tuple[Controller, str]
) -> None:
    desk.people("ada")
    made, base = controller
    made.answers = [Answer(500), Answer(200)]
    desk.call("POST", "/v2/requests", asked(status_callback_urls=[f"{base}/cb"]))
    desk.work()
    desk.turn()
    desk.hand.done = Fulfilled()
    desk.work()
    assert desk.turn() == 1
    assert made.statuses() == ["in_progress", "completed"]
    assert desk.turn() == 0


def test_changes_come_one_after_the_other(desk: Desk, controller: tuple[Controller, str]) -> None:
    desk.people("ada")
    made, base = controller
    desk.call("POST", "/v2/requests", asked(status_callback_urls=[f"{base}/cb"]))
    desk.work()
    desk.services.opendsr_reports.follow()
    desk.hand.done = Fulfilled()
    desk.work()
    assert [desk.turn(), desk.turn()] == [1, 1]
    assert made.statuses() == ["in_progress", "completed"]


def test_no_network_of_ours_is_called_back(desk: Desk, controller: tuple[Controller, str]) -> None:
    urls = [
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/cb",
        "https://[::ffff:192.168.1.1]/cb",
        "https://localhost.localdomain/cb",
    ]
    desk.call("POST", "/v2/requests", asked(status_callback_urls=urls))
    desk.work()
    assert desk.turn() == 0
    (request,) = desk.caller.api("GET", "/rights/requests")["items"]
    shown = desk.caller.api("GET", f"/rights/requests/{request['id']}/opendsr")["controller"]["callbacks"]
    assert [one["last_error"] for one in shown[:3]] == ["address_refused"] * 3
    assert shown[3]["last_error"] in {"address_refused", "no_connection"}
    assert controller[0].calls == []


def test_addresses_are_stored_sealed(desk: Desk, controller: tuple[Controller, str]) -> None:
    url = f"{controller[1]}/cb/very-particular"
    desk.call("POST", "/v2/requests", asked(status_callback_urls=[url]))
    with desk.services.store.reading() as connection:
        ((held,),) = connection.exec_driver_sql("SELECT callbacks FROM opendsr_requests").all()
    assert b"very-particular" not in bytes(held)
