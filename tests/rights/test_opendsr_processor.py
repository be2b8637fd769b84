"""OpenDSR 2.0 as processor: what a controller can ask, and what it is answered, over HTTP."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from opendsr_desk import ADA, Desk, asked, desk_of, signed, speaking, status_of
from opendsr_world import Authority

from cdp import app
from cdp.clock import DAY, SECOND, FixedClock
from cdp.errors import ConfigurationError
from cdp.rights import Denied, Fulfilled
from cdp.settings import Settings


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
    assert "2026-03-10" < made["expected_completion_time"] < "2026-03-30"
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
    named = desk.services.profile_ids.encode(request.identity_no)
    found = desk.caller.api("GET", f"/profiles/{named}", purpose="data_quality")["id"]
    assert found == desk.caller.lookup("email", ADA)["id"]


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
        calls = (desk.call("GET", f"/v2/requests/{one['subject_request_id']}") for one in answers)
        said = [signed(desk, call) for call in calls]
        assert [one["request_status"] for one in said] == ["pending"] * 2
        assert said[0]["expected_completion_time"] == said[1]["expected_completion_time"]


def test_the_names_of_before_are_honoured(desk: Desk) -> None:
    for prefix in (
        "/v2/requests",
        "/v2/opendsr_requests",
        "/v2/opengdpr_requests",
        "/opendsr_requests",
        "/opengdpr_requests",
    ):
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


def test_whose_key_may_ask(desk: Desk) -> None:
    for number, (role, destination, purposes, status) in enumerate(
        (
            ("destination", "mailer", ["rights"], 403),
            ("destination", "controller", ["data_quality"], 403),
            ("officer", "", ["rights"], 201),
            ("officer", "", [], 403),
            ("steward", "", ["rights"], 403),
            ("marketer", "", ["rights"], 403),
        )
    ):
        body = {"name": f"{number}", "roles": [role], "destination": destination, "purposes": purposes}
        key = desk.caller.api("POST", "/keys", body)["key"]
        answer = desk.call("POST", "/v2/requests", asked(), key=key)
        assert answer.status_code == status, (role, destination, purposes)


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


def test_an_unknown_id_is_404(desk: Desk) -> None:
    for request_id in (str(uuid.uuid4()), "r_1", "A" * 36, "x" * 3000):
        signed(desk, desk.call("GET", f"/v2/requests/{request_id}"), 404)
        signed(desk, desk.call("DELETE", f"/v2/requests/{request_id}"), 404)
    assert desk.call("GET", "/v2/requests/%00").status_code == 400


def test_only_a_pending_request_is_cancelled(desk: Desk) -> None:
    desk.people("ada")
    body = asked(subject_request_type="access")
    desk.call("POST", "/v2/requests", body)
    desk.work()
    answer = desk.call("DELETE", f"/v2/requests/{body['subject_request_id']}")
    assert "not pending" in signed(desk, answer, 400)["error"]["message"]
    assert status_of(desk, body["subject_request_id"]) == "in_progress"


def test_a_denied_request_ends_as_cancelled(desk: Desk) -> None:
    desk.people("ada")
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
