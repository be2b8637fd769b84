"""OpenDSR 2.0 as processor: what a controller can ask, and what it is answered, over HTTP."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from opendsr_world import Answer, Authority, Desk, desk_of, lead_home, serving, signed_by, speaking

from cdp import app
from cdp.clock import DAY, SECOND, FixedClock
from cdp.errors import ConfigurationError
from cdp.rights import Denied, Fulfilled
from cdp.settings import Settings

ADA = "ada@people.example"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "outside")


@pytest.fixture
def desk(settings: Settings, authority: Authority, clock: FixedClock) -> Iterator[Desk]:
    with desk_of(speaking(settings, authority, "cdp.example"), clock) as made:
        yield made


def asked(value: str = ADA, **changes: Any) -> dict[str, Any]:
    return {
        "regulation": "gdpr",
        "subject_request_id": str(uuid.uuid4()),
        "subject_request_type": "erasure",
        "submitted_time": "2026-02-28T12:00:00Z",
        "subject_identities": [{"identity_type": "email", "identity_value": value, "identity_format": "raw"}],
    } | changes


def signed(desk: Desk, answer: httpx.Response, status: int = 200) -> Any:
    """Return what an answer says, once its signature was checked against the certificate served."""
    assert answer.status_code == status, answer.text
    certificate = desk.call("GET", "/v2/certificate.pem", key="").content
    for family in ("X-OpenDSR", "X-OpenGDPR"):
        assert answer.headers[f"{family}-Processor-Domain"] == "cdp.example"
        assert signed_by(certificate, answer.content, answer.headers[f"{family}-Signature"])
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "application/json"
    return answer.json()


def status_of(desk: Desk, request_id: str) -> Any:
    return signed(desk, desk.call("GET", f"/v2/requests/{request_id}"))["request_status"]


def test_discovery_says_what_is_taken_and_where_the_certificate_lies(desk: Desk) -> None:
    said = signed(desk, desk.call("GET", "/v2/discovery", key=""))
    assert said["api_version"] == "2.0"
    assert said["supported_subject_request_types"] == ["access", "portability", "erasure"]
    assert said["processor_certificate"] == "https://cdp.example/v2/certificate.pem"
    assert {"identity_type": "email", "identity_format": "raw"} in said["supported_identities"]
    assert {one["identity_format"] for one in said["supported_identities"]} == {"raw"}


def test_an_erasure_from_beginning_to_end(desk: Desk, clock: FixedClock) -> None:
    desk.people("ada")
    body = asked(subject_request_id="a7551968-d5d6-44b2-9831-815ac9017798")
    raw = msgspec.json.encode(body)
    made = signed(desk, desk.call("POST", "/v2/requests", raw=raw), 201)
    assert base64.b64decode(made["encoded_request"]) == raw
    assert made == {
        "api_version": "2.0",
        "controller_id": desk.key_id,
        "subject_request_id": body["subject_request_id"],
        "received_time": "2026-03-01T12:00:00Z",
        "expected_completion_time": made["expected_completion_time"],
        "encoded_request": made["encoded_request"],
    }
    assert "2026-03-10" < made["expected_completion_time"] <= "2026-03-28T12:00:00Z"
    assert status_of(desk, body["subject_request_id"]) == "pending"
    desk.work()
    assert status_of(desk, body["subject_request_id"]) == "in_progress"
    desk.hand.done = Fulfilled()
    clock.advance(SECOND)
    desk.work()
    assert signed(desk, desk.call("GET", f"/v2/requests/{body['subject_request_id']}")) == {
        "api_version": "2.0",
        "controller_id": desk.key_id,
        "subject_request_id": body["subject_request_id"],
        "expected_completion_time": made["expected_completion_time"],
        "request_status": "completed",
    }
    (request,) = {one.request_id: one for one in desk.hand.asked}.values()
    assert (request.channel, request.regulation, request.external_id) == (
        "opendsr",
        "gdpr",
        body["subject_request_id"],
    )
    number = desk.caller.lookup("email", ADA)["id"]
    assert desk.services.profile_ids.encode(request.identity_no) == number


def test_whoever_nobody_knows_is_answered_alike(desk: Desk) -> None:
    desk.people("ada")
    for kind in ("access", "erasure", "portability"):
        known, unknown = (
            asked(subject_request_type=kind),
            asked("nobody@people.example", subject_request_type=kind),
        )
        answers = [signed(desk, desk.call("POST", "/v2/requests", body), 201) for body in (known, unknown)]
        varies = ("subject_request_id", "encoded_request")
        assert (
            len({msgspec.json.encode({k: v for k, v in one.items() if k not in varies}) for one in answers})
            == 1
        )
        assert [status_of(desk, one["subject_request_id"]) for one in answers] == ["pending"] * 2
    desk.work()
    assert 0 in {request.identity_no for request in desk.hand.asked}


@pytest.mark.parametrize(
    "prefix",
    [
        "/v2/requests",
        "/v2/opendsr_requests",
        "/v2/opengdpr_requests",
        "/opendsr_requests",
        "/opengdpr_requests",
    ],
)
def test_the_names_of_before_are_honoured(desk: Desk, prefix: str) -> None:
    body = asked()
    signed(desk, desk.call("POST", prefix, body), 201)
    signed(desk, desk.call("GET", f"{prefix}/{body['subject_request_id']}"))
    said = signed(desk, desk.call("DELETE", f"{prefix}/{body['subject_request_id']}"), 202)
    assert said == {
        "api_version": "2.0",
        "controller_id": desk.key_id,
        "subject_request_id": body["subject_request_id"],
        "received_time": "2026-03-01T12:00:00Z",
    }
    assert status_of(desk, body["subject_request_id"]) == "cancelled"


def test_the_same_request_again_is_answered_the_same_and_made_once(desk: Desk, clock: FixedClock) -> None:
    raw = msgspec.json.encode(asked())
    first = desk.call("POST", "/v2/requests", raw=raw)
    clock.advance(5 * DAY)
    again = desk.call("POST", "/v2/requests", raw=raw)
    assert first.content == again.content
    assert signed(desk, again, 201)
    assert len(desk.caller.api("GET", "/rights/requests")["items"]) == 1
    other = desk.call("POST", "/v2/requests", raw=raw.replace(b"erasure", b"access"))
    said = signed(desk, other, 400)
    assert "stands for another request" in said["error"]["message"]


def test_another_controller_s_request_is_none(desk: Desk) -> None:
    body = asked()
    desk.call("POST", "/v2/requests", body)
    key = desk.caller.destination_key("controller", "rights")
    for method in ("GET", "DELETE"):
        mine = desk.call(method, f"/v2/requests/{uuid.uuid4()}", key=key)
        theirs = desk.call(method, f"/v2/requests/{body['subject_request_id']}", key=key)
        assert signed(desk, theirs, 404) == signed(desk, mine, 404)
    assert signed(desk, desk.call("POST", "/v2/requests", body, key=key), 201), "its ids are its own"
    assert status_of(desk, body["subject_request_id"]) == "pending"


@pytest.mark.parametrize(
    ("roles", "destination", "purposes", "status"),
    [
        (["destination"], "mailer", ["rights"], 403),
        (["destination"], "controller", ["data_quality"], 403),
        (["officer"], "", ["rights"], 201),
        (["officer"], "", [], 403),
        (["steward"], "", ["rights"], 403),
        (["marketer"], "", ["rights"], 403),
    ],
)
def test_whose_key_may_ask(
    desk: Desk, roles: list[str], destination: str, purposes: list[str], status: int
) -> None:
    body = {"name": "other", "roles": roles, "destination": destination, "purposes": purposes}
    key = desk.caller.api("POST", "/keys", body)["key"]
    answer = desk.call("POST", "/v2/requests", asked(), key=key)
    assert answer.status_code == status, answer.text


def test_errors_have_the_form_of_the_standard_and_no_identity(desk: Desk) -> None:
    answer = desk.call("POST", "/v2/requests", asked(regulation="lgpd"))
    said = signed(desk, answer, 400)
    assert said == {
        "error": {
            "code": 400,
            "message": "regulation is neither gdpr nor ccpa",
            "errors": [
                {
                    "domain": "cdp.example",
                    "reason": "invalid-input",
                    "message": "regulation is neither gdpr nor ccpa",
                }
            ],
        }
    }
    assert ADA not in answer.text
    for raw in (b"", b"{", b"\xff" * 9, msgspec.json.encode(asked(x="y" * 70_000))):
        answer = desk.call("POST", "/v2/requests", raw=raw)
        assert answer.status_code in {400, 413}
        assert signed(desk, answer, answer.status_code)["error"]["code"] == answer.status_code
    unknown = desk.call("POST", "/v2/requests", asked(), key="")
    assert unknown.status_code == 401
    assert "X-OpenDSR-Signature" not in unknown.headers, "nobody has us sign without a key"
    assert unknown.json()["error"]["code"] == 401


@pytest.mark.parametrize(
    "request_id", ["a7551968-d5d6-44b2-9831-815ac9017798", "r_1", "A" * 36, "%00", "x" * 3000]
)
def test_an_unknown_id_is_404(desk: Desk, request_id: str) -> None:
    answer = desk.call("GET", f"/v2/requests/{request_id}")
    assert answer.status_code in {404, 400}
    if request_id != "%00":
        signed(desk, answer, 404)


def test_only_a_pending_request_is_cancelled(desk: Desk) -> None:
    body = asked(subject_request_type="access")
    desk.call("POST", "/v2/requests", body)
    desk.work()
    answer = desk.call("DELETE", f"/v2/requests/{body['subject_request_id']}")
    assert "not pending" in signed(desk, answer, 400)["error"]["message"]
    assert status_of(desk, body["subject_request_id"]) == "in_progress"


def test_a_denied_request_ends_as_cancelled(desk: Desk) -> None:
    body = asked(subject_request_type="access")
    desk.call("POST", "/v2/requests", body)
    desk.hand.done = Denied(reason="excessive")
    desk.work()
    assert status_of(desk, body["subject_request_id"]) == "cancelled"


def test_the_clock_of_the_law_begins_when_the_person_asked(desk: Desk) -> None:
    early, late = asked(submitted_time="2026-02-01T00:00:00Z"), asked(submitted_time="2026-03-01T12:00:00Z")
    said = [signed(desk, desk.call("POST", "/v2/requests", body), 201) for body in (early, late)]
    assert said[0]["expected_completion_time"] < said[1]["expected_completion_time"]
    long_ago = signed(
        desk, desk.call("POST", "/v2/requests", asked(submitted_time="1999-01-01T00:00:00Z")), 201
    )
    assert long_ago["expected_completion_time"] == long_ago["received_time"]


def test_what_was_asked_is_on_record_without_an_identity(desk: Desk) -> None:
    desk.people("ada")
    body = asked()
    del body["regulation"]
    hashed = {"identity_type": "email", "identity_value": "0" * 64, "identity_format": "sha256"}
    body["subject_identities"].append(hashed)
    desk.call("POST", "/v2/requests", body)
    entries = desk.caller.api("GET", "/audit?action=opendsr.take")["items"]
    assert entries[0]["object"]["regulation_given"] == 0
    assert entries[0]["counts"]["ignored"] == 1
    assert ADA not in msgspec.json.encode(entries).decode()


# -- callbacks --------------------------------------------------------------------------------------


class Controller:
    """A controller that is called back."""

    def __init__(self) -> None:
        self.calls: list[tuple[Mapping[str, str], bytes]] = []
        self.answers: list[Answer] = [Answer(204)]

    def __call__(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        assert (method, path[:3]) == ("POST", "/cb")
        self.calls.append((headers, body))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def statuses(self) -> list[str]:
        return [msgspec.json.decode(body)["request_status"] for _, body in self.calls]


@pytest.fixture
def controller(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Controller, str]]:
    lead_home(monkeypatch)
    made = Controller()
    with serving(made, *authority.issue("controller.example")) as port:
        yield made, f"https://controller.example:{port}"


def test_every_change_is_told_to_every_address_and_signed(
    desk: Desk, controller: tuple[Controller, str]
) -> None:
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
    made, base = controller
    made.answers = [Answer(307, headers={"Location": f"{base}/cb"}), Answer(500), Answer(200)]
    desk.call("POST", "/v2/requests", asked(status_callback_urls=[f"{base}/cb"]))
    desk.work()
    assert desk.turn() == 0
    assert desk.turn() == 0, "not before its time"
    assert len(made.calls) == 1, "a redirect is not followed"
    clock.advance(7 * SECOND)
    assert desk.turn() == 0
    clock.advance(400 * SECOND)
    assert desk.turn() == 1
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
    made, base = controller
    desk.call("POST", "/v2/requests", asked(status_callback_urls=[f"{base}/cb"]))
    desk.work()
    desk.services.opendsr_reports.follow()
    desk.hand.done = Fulfilled()
    desk.work()
    assert [desk.turn(), desk.turn()] == [1, 1]
    assert made.statuses() == ["in_progress", "completed"]


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/cb",
        "https://[::ffff:192.168.1.1]/cb",
        "https://localhost.localdomain/cb",
    ],
)
def test_no_network_of_ours_is_called_back(desk: Desk, url: str, controller: tuple[Controller, str]) -> None:
    desk.call("POST", "/v2/requests", asked(status_callback_urls=[url]))
    desk.work()
    assert desk.turn() == 0
    (request,) = desk.caller.api("GET", "/rights/requests")["items"]
    (shown,) = desk.caller.api("GET", f"/rights/requests/{request['id']}/opendsr")["controller"]["callbacks"]
    assert shown["last_error"] in {"address_refused", "no_connection"}
    assert controller[0].calls == []


def test_addresses_are_stored_sealed(desk: Desk, controller: tuple[Controller, str]) -> None:
    url = f"{controller[1]}/cb/very-particular"
    desk.call("POST", "/v2/requests", asked(status_callback_urls=[url]))
    with desk.services.store.reading() as connection:
        ((held,),) = connection.exec_driver_sql("SELECT callbacks FROM opendsr_requests").all()
    assert b"very-particular" not in bytes(held)


# -- set up, or not ---------------------------------------------------------------------------------


def test_without_a_certificate_nobody_can_ask(settings: Settings, clock: FixedClock) -> None:
    with desk_of(settings, clock) as desk:
        for method, path in (
            ("GET", "/v2/discovery"),
            ("GET", "/v2/certificate.pem"),
            ("POST", "/v2/requests"),
        ):
            answer = desk.call(method, path, asked() if method == "POST" else None)
            assert answer.status_code == 404
            assert "CDP_OPENDSR_CERTIFICATE" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "case", ["alone", "another key", "another host", "http", "no file", "no pem", "no rsa"]
)
def test_what_does_not_belong_together_does_not_start(
    settings: Settings, authority: Authority, clock: FixedClock, case: str
) -> None:
    whole = speaking(settings, authority, "cdp.example")
    _, other = authority.issue("cdp.example", key="other")
    if case == "no rsa":
        private = generate_private_key(SECP256R1())
        other.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    changes: dict[str, dict[str, Any]] = {
        "alone": {"opendsr_key": None},
        "another key": {"opendsr_key": other},
        "another host": {"public_url": "https://other.example"},
        "http": {"public_url": "http://cdp.example"},
        "no file": {"opendsr_key": authority.folder / "none"},
        "no pem": {"opendsr_certificate": other},
        "no rsa": {"opendsr_key": other},
    }
    with pytest.raises(ConfigurationError):
        app.build(msgspec.structs.replace(whole, **changes[case]), clock)
