"""OpenDSR 2.0 towards recipients: told of erasures, believed only as they sign, flagged when late."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import prometheus_client
import pytest
from opendsr_world import (
    FROM,
    Answer,
    Authority,
    Desk,
    Processor,
    days,
    desk_of,
    lead_home,
    rsa_key,
    serving,
    speaking,
)

from cdp.clock import DAY, SECOND, FixedClock
from cdp.rights import Fulfilled
from cdp.settings import Settings

EMAIL = "marketing.communications.email"
DEFINITION = {"name": "germans", "where": {"all": [{"trait": "country", "op": "eq", "value": "Germany"}]}}
DOMAIN = "privacy.mailer.example"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "outside")


@pytest.fixture
def mailer(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processor]:
    """The mailer's privacy desk."""
    lead_home(monkeypatch)
    certificate, key = authority.issue(DOMAIN, key=DOMAIN)
    made = Processor(DOMAIN, rsa_key(DOMAIN), certificate)
    with serving(made, certificate, key) as port:
        made.url = f"https://{DOMAIN}:{port}/v2"
        made.certificate_url = f"{made.url}/certificate.pem"
        yield made


@pytest.fixture
def desk(
    settings: Settings, authority: Authority, mailer: Processor, clock: FixedClock, tmp_path: Path
) -> Iterator[Desk]:
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    (tokens / "mailer").write_text("let-me-in\n", encoding="ascii")
    chosen = speaking(settings, authority, "cdp.example", opendsr_tokens=tokens)
    with desk_of(chosen, clock) as made:
        made.declare("mailer", mailer.url)
        yield made


def deliver(desk: Desk, *names: str) -> dict[str, str]:
    """Have the mailer fetch people; returns name → reference."""
    desk.people(*names)
    caller = desk.caller
    for name in names:
        who = [{"type": "user_id", "value": f"user-{name}"}]
        caller.api("POST", "/consents", {"identifiers": who, "purpose": EMAIL, "state": "granted"})
    desk.services.mirror.refresh()
    caller.api("PUT", "/segments/germans", DEFINITION)
    body = {"segment": "germans", "destination": "mailer", "purpose": EMAIL, "format": "jsonl"}
    export = caller.api("POST", "/exports", body)
    key = caller.destination_key("mailer", EMAIL)
    answer = caller.http.get(
        f"/api/v1/exports/{export['id']}/data", headers={"Authorization": f"Bearer {key}"}
    )
    rows = [msgspec.json.decode(line) for line in answer.content.splitlines()]
    return {row["email"].partition("@")[0]: row["profile_ref"] for row in rows}


def erase(desk: Desk, name: str) -> str:
    """Have an erasure opened, and fulfilled here; returns its id."""
    body = {"identifier": {"type": "user_id", "value": f"user-{name}"}, "kind": "erasure"}
    request_id = desk.caller.api("POST", "/rights/requests", body)["id"]
    desk.hand.done = Fulfilled()
    desk.work()
    assert isinstance(request_id, str)
    return request_id


def tell(desk: Desk) -> int:
    return desk.services.opendsr_fan_out.turn()


def recipients(desk: Desk, request_id: str) -> list[dict[str, Any]]:
    found = desk.caller.api("GET", f"/rights/requests/{request_id}/opendsr")["recipients"]
    assert isinstance(found, list)
    return found


def call_back(desk: Desk, mailer: Processor, number: str, **changes: str) -> int:
    """Call back as the mailer; returns the status answered."""
    said = mailer.told(number, status_callback_url=f"https://cdp.example/v2/callbacks/{number}") | changes
    body = msgspec.json.encode(said)
    answer = desk.caller.http.post(
        f"/v2/callbacks/{number}", content=mailer.spoils(body), headers=mailer.headers(body)
    )
    return answer.status_code


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
        assert fan_out.materialise(batch, request, request.identity_nos) == 0
        profile = desk.services.identity.profile_of(batch.connection, others[0])
        members = desk.services.identity.members(batch.connection, profile)
        assert fan_out.materialise(batch, request, [*request.identity_nos, *members]) == 1
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


def from_controller(desk: Desk, name: str) -> str:
    """Have a controller ask for an erasure that is then fulfilled here; returns its own id for it."""
    request_id = "a7551968-d5d6-44b2-9831-815ac9017798"
    body = {
        "regulation": "gdpr",
        "subject_request_id": request_id,
        "subject_request_type": "erasure",
        "submitted_time": "2026-02-28T12:00:00Z",
        "subject_identities": [
            {"identity_type": "email", "identity_value": f"{name}@people.example", "identity_format": "raw"}
        ],
    }
    made = desk.call("POST", "/v2/requests", body)
    assert made.status_code == 201
    assert made.json()["expected_completion_time"] < "2026-03-18", "recipients need their time"
    desk.hand.done = Fulfilled()
    desk.work()
    return request_id


def status_of(desk: Desk, request_id: str) -> str:
    status = desk.call("GET", f"/v2/requests/{request_id}").json()["request_status"]
    assert isinstance(status, str)
    return status


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
    ]
    for wait in (0, 10, 890):
        clock.advance(wait * SECOND)
        assert tell(desk) == 0
    assert len(mailer.posted()) == 2, "Retry-After is honoured"
    clock.advance(60 * SECOND)
    assert tell(desk) == 0, "a redirect is not followed"
    clock.advance(3600 * SECOND)
    assert tell(desk) == 1
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


# -- whose word counts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        "signature",
        "key",
        "domain",
        "body",
        "another host",
        "expired",
        "not yet",
        "another authority",
        "elsewhere",
        "http",
        "big",
    ],
)
def test_an_answer_that_is_not_signed_by_whom_we_asked_is_none(
    desk: Desk, mailer: Processor, authority: Authority, tmp_path: Path, wrong: str
) -> None:
    deliver(desk, "ada")
    request_id = erase(desk, "ada")
    now = FROM + days(2251)  # 2026-03-01
    issued: dict[str, Any] = {
        "another host": lambda: authority.issue("other.example", key=DOMAIN),
        "expired": lambda: authority.issue(DOMAIN, key=DOMAIN, until=now - days(1)),
        "not yet": lambda: authority.issue(DOMAIN, key=DOMAIN, since=now + days(1)),
        "another authority": lambda: Authority(tmp_path / "outside2", "stranger").issue(DOMAIN, key=DOMAIN),
    }
    if wrong in issued:
        mailer.certificate = issued[wrong]()[0].read_bytes()
    elif wrong == "key":
        mailer.key = rsa_key("stranger")
    elif wrong == "domain":
        mailer.said_domain = "other.example"
    elif wrong == "body":
        mailer.spoils = lambda body: body.replace(b"2026", b"2027")
    elif wrong == "signature":
        mailer.signature = "bm8="
    elif wrong == "elsewhere":
        mailer.certificate_url = mailer.certificate_url.replace(DOMAIN, "other.example")
    elif wrong == "http":
        mailer.certificate_url = mailer.certificate_url.replace("https", "http")
    else:
        mailer.spoils = lambda body: body + b" " * 70_000
    assert tell(desk) == 0
    (shown,) = recipients(desk, request_id)
    assert shown["state"] == "queued"
    assert shown["last_error"] in {"untrusted", "bad_answer", "too_large"}


def pending(desk: Desk, mailer: Processor) -> tuple[str, str]:
    """Return (our request, its id at the mailer) of an erasure that the mailer took."""
    deliver(desk, "ada")
    request_id = erase(desk, "ada")
    tell(desk)
    mailer.status = "completed"
    return request_id, mailer.posted()[0]["subject_request_id"]


def test_a_callback_counts_only_as_it_was_signed_for_its_address(desk: Desk, mailer: Processor) -> None:
    request_id, number = pending(desk, mailer)
    other = "a7551968-d5d6-44b2-9831-815ac9017798"
    assert call_back(desk, mailer, number, status_callback_url="https://evil.example/cb") == 400
    assert call_back(desk, mailer, number, subject_request_id=other) == 400
    assert call_back(desk, mailer, number, request_status="lost") == 400
    assert call_back(desk, mailer, other) == 400
    mailer.spoils = lambda body: body.replace(b"completed", b"cancelled")
    assert call_back(desk, mailer, number) == 400
    mailer.spoils = lambda _: b"{"
    assert call_back(desk, mailer, number) == 400
    mailer.spoils = lambda body: body + b" " * 70_000
    assert call_back(desk, mailer, number) == 413
    mailer.spoils = bytes
    mailer.said_domain = "unlisted.example"
    assert call_back(desk, mailer, number) == 401
    mailer.said_domain = ""
    assert call_back(desk, mailer, number) == 401
    answer = desk.caller.http.post(f"/v2/callbacks/{number}", content=b"{}")
    assert answer.status_code == 401
    assert recipients(desk, request_id)[0]["state"] == "pending"
    mailer.said_domain = DOMAIN.upper()
    assert call_back(desk, mailer, number) == 202
    assert recipients(desk, request_id)[0]["state"] == "completed"
    refused = desk.caller.api("GET", "/audit?action=opendsr.refused")["items"]
    assert refused
    assert {one["outcome"] for one in refused} == {"denied"}


def test_a_callback_that_is_played_again_changes_nothing(desk: Desk, mailer: Processor) -> None:
    request_id, number = pending(desk, mailer)
    mailer.status = "in_progress"
    earlier = msgspec.json.encode(
        mailer.told(number, status_callback_url=f"https://cdp.example/v2/callbacks/{number}")
    )
    headers = mailer.headers(earlier)
    mailer.status = "completed"
    assert call_back(desk, mailer, number) == 202
    before = recipients(desk, request_id)
    for _ in range(2):
        again = desk.caller.http.post(f"/v2/callbacks/{number}", content=earlier, headers=headers)
        assert again.status_code == 202
        assert call_back(desk, mailer, number) == 202
    assert recipients(desk, request_id) == before
    entries = desk.caller.api("GET", "/audit?action=opendsr.recipient")["items"]
    assert [one["object"]["state"] for one in entries] == ["completed", "pending"]


def test_a_certificate_is_kept_for_an_hour_and_found_anew_when_it_was_renewed(
    desk: Desk, mailer: Processor, authority: Authority, clock: FixedClock
) -> None:
    request_id, number = pending(desk, mailer)
    asked = sum(path == "/v2/discovery" for _, path, _, _ in mailer.calls)
    assert asked == 1
    mailer.key = rsa_key("renewed")
    mailer.certificate = authority.issue(DOMAIN, key="renewed")[0].read_bytes()
    assert call_back(desk, mailer, number) == 400, "it was found a moment ago"
    clock.advance(61 * SECOND)
    assert call_back(desk, mailer, number) == 202
    assert recipients(desk, request_id)[0]["state"] == "completed"
    mailer.key = rsa_key("stranger")
    before = len(mailer.calls)
    for _ in range(5):
        assert call_back(desk, mailer, number) == 400
    assert len(mailer.calls) == before, "rubbish in its name has us ask it once a minute at most"


def test_a_recipient_in_a_network_of_ours_is_not_called(
    desk: Desk, mailer: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(desk, "ada")
    request_id = erase(desk, "ada")
    inner = ipaddress.ip_address("10.0.0.7")
    monkeypatch.setattr(
        "cdp.export.addresses.socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (str(inner), 443))]
    )
    assert tell(desk) == 0
    assert recipients(desk, request_id)[0]["last_error"] == "untrusted"
    assert mailer.calls == []


def test_a_recipient_that_is_declared_no_more_is_refused(desk: Desk, mailer: Processor) -> None:
    request_id, number = pending(desk, mailer)
    desk.declare("mailer", "")
    assert call_back(desk, mailer, number) == 401
    assert recipients(desk, request_id)[0]["state"] == "pending"
