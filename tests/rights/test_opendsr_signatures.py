"""OpenDSR 2.0 towards recipients: nothing counts that is not signed by the domain that was declared."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opendsr_desk import Desk, call_back, deliver, erase, pending, recipients, tell
from opendsr_world import FROM, Authority, Processor, days, rsa_key, serving

from cdp.clock import SECOND, FixedClock
from cdp.crypto import Authorities, UntrustedError
from cdp.errors import InvalidInputError
from cdp.policy import OpenDsr
from cdp.rights.opendsr import Transport, Trust

DOMAIN = "privacy.mailer.example"


@pytest.fixture
def desk(telling: Desk) -> Desk:
    return telling


WRONG = (
    "signature",
    "key",
    "domain",
    "body",
    "another host",
    "expired",
    "not yet",
    "another authority",
    "elsewhere",
    "big",
)


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_not_signed_by_whom_we_asked_is_not_believed(
    mailer: Processor, authority: Authority, clock: FixedClock, tmp_path: Path, wrong: str
) -> None:
    authorities, recipient = Authorities(authority.file), OpenDsr(mailer.url, DOMAIN, 14)
    transport = Transport(authorities, clock, loopback=True)
    trust = Trust(transport, authorities, clock)
    body = b'{"subject_request_id":"x"}'
    trust.check(recipient, {k.lower(): v for k, v in mailer.headers(body).items()}, body)
    trust = Trust(transport, authorities, clock)
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
        mailer.spoils = lambda said: said.replace(b"x", b"y")
    elif wrong == "signature":
        mailer.signature = "bm8="
    elif wrong == "elsewhere":
        mailer.certificate_url = mailer.certificate_url.replace(DOMAIN, "other.example")
    else:
        mailer.certificate += b" " * 70_000
    headers = {name.lower(): value for name, value in mailer.headers(body).items()}
    said = mailer.spoils(body) if wrong == "body" else body
    mailer.spoils = bytes
    with pytest.raises((UntrustedError, InvalidInputError)):
        trust.check(recipient, headers, said)


def test_a_certificate_is_not_fetched_without_tls(
    mailer: Processor, authority: Authority, clock: FixedClock
) -> None:
    authorities, body = Authorities(authority.file), b"{}"
    headers = {name.lower(): value for name, value in mailer.headers(body).items()}
    trust = Trust(Transport(authorities, clock, loopback=True), authorities, clock)
    with serving(mailer) as port:
        mailer.certificate_url = f"http://{DOMAIN}:{port}/v2/certificate.pem"
        with pytest.raises(UntrustedError):
            trust.check(OpenDsr(mailer.url, DOMAIN, 14), headers, body)


def test_a_server_that_is_another_s_is_not_asked(
    mailer: Processor, authority: Authority, clock: FixedClock, tmp_path: Path
) -> None:
    body = b"{}"
    headers = {name.lower(): value for name, value in mailer.headers(body).items()}
    stranger = Authority(tmp_path / "outside3", "stranger").issue(DOMAIN, key=DOMAIN)
    for certificate in (authority.issue("other.example", key=DOMAIN), stranger):
        with serving(mailer, *certificate) as port:
            recipient = OpenDsr(f"https://{DOMAIN}:{port}/v2", DOMAIN, 14)
            authorities = Authorities(authority.file)
            trust = Trust(Transport(authorities, clock, loopback=True), authorities, clock)
            with pytest.raises(UntrustedError):
                trust.check(recipient, headers, body)
    assert mailer.calls == []


def test_an_answer_that_is_not_signed_as_it_came_moves_nothing(desk: Desk, mailer: Processor) -> None:
    deliver(desk, "ada")
    request_id = erase(desk, "ada")
    mailer.spoils = lambda body: body.replace(b"2026-03", b"2027-03")
    assert tell(desk) == 0
    (shown,) = recipients(desk, request_id)
    assert (shown["state"], shown["last_error"]) == ("queued", "bad_answer")


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
