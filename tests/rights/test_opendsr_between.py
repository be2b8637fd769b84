"""Two platforms of this kind, one the other's recipient: the conformance list of OpenDSR 2.0, row by row."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import msgspec
import prometheus_client
import pytest
from opendsr_desk import (
    ASKED,
    Desk,
    asked,
    deliver,
    desk_of,
    from_controller,
    recipients,
    signed,
    speaking,
    status_of,
    tell,
)
from opendsr_world import Answer, Authority, lead_home, serving, signed_by
from platform_fixtures import Template, copy_database, settings_of

from cdp.clock import SECOND, FixedClock
from cdp.rights import Fulfilled
from cdp.settings import Settings

PROCESSOR = (
    "validates and processes new requests, extensions included",
    "correct status objects",
    "cancellation",
    "secured results",
    "discovery with certificate and identities",
    "the API asks who calls",
    "answers are signed",
    "the private key is protected",
    "callbacks on change",
    "version in the URL",
    "logging",
    "metrics",
    "a defined process for each request type",
)
CONTROLLER = (
    "correct creation",
    "status by polling or callback",
    "stable callback endpoint",
    "certificate validation and caching",
    "signature validation",
    "logging of what is heard",
)


class Front:
    """What stands before a platform: TLS, and a record of what went through."""

    def __init__(self) -> None:
        self.desk: Desk | None = None
        self.passed: list[tuple[str, str, bytes, Mapping[str, str]]] = []

    def __call__(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        assert self.desk is not None
        kept = {name: value for name, value in headers.items() if name not in {"host", "connection"}}
        answer = self.desk.caller.http.request(method, path, headers=kept, content=body)
        self.passed.append((method, path, answer.content, dict(answer.headers)))
        said = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
        return Answer(answer.status_code, answer.content, said)

    def calls(self, start: str) -> int:
        return sum(path.startswith(start) for _, path, _, _ in self.passed)


Pair = tuple[Desk, Desk, Front, Front]


@pytest.fixture
def pair(
    settings: Settings,
    templates: Callable[[str], Template],
    tmp_path: Path,
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Pair]:
    """A platform (CDP) whose destination `mailer` is a second platform, and what stands before each."""
    lead_home(monkeypatch)
    authority = Authority(tmp_path / "outside")
    template = templates("sqlite")
    folder = tmp_path / "second"
    shutil.copytree(template.folder, folder)
    urls = [f"sqlite:///{tmp_path / name}.sqlite" for name in ("second-cdp", "second-keys")]
    for given, url in zip((template.database, template.keys), urls, strict=True):
        copy_database(given, url)
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    ours, theirs = Front(), Front()
    with ExitStack() as opened:
        desks = []
        for front, domain, chosen in (
            (theirs, "mailer.example", settings_of(folder, *urls)),
            (ours, "cdp.example", settings),
        ):
            speaks = speaking(chosen, authority, domain, opendsr_tokens=tokens)
            assert speaks.opendsr_certificate is not None
            assert speaks.opendsr_key is not None
            port = opened.enter_context(serving(front, speaks.opendsr_certificate, speaks.opendsr_key))
            public = msgspec.structs.replace(speaks, public_url=f"https://{domain}:{port}")
            front.desk = opened.enter_context(desk_of(public, clock))
            desks.append(front.desk)
        other, mine = desks
        (tokens / "mailer").write_text(other.key, encoding="ascii")
        mine.declare("mailer", f"{other.services.settings.public_url}/v2")
        yield mine, other, ours, theirs


def test_every_row_of_the_list_is_met(pair: Pair, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other, ours, theirs = pair
    ref = deliver(mine, "ada")["ada"]
    other.caller.send({"type": "identify", "userId": ref, "traits": {"country": "Germany"}})
    met = taken(mine, other, theirs, ref)
    met |= done(mine, other, ours, theirs, clock)
    met |= on_record(mine, other)
    met |= other_types(other, ref, monkeypatch)
    assert met == {*PROCESSOR, *CONTROLLER}


def taken(mine: Desk, other: Desk, theirs: Front, ref: str) -> set[str]:
    """An erasure goes from platform to platform."""
    from_controller(mine, "ada")
    assert tell(mine) == 1
    (request,) = other.caller.api("GET", "/rights/requests")["items"]
    assert request["profile"] == other.caller.lookup("user_id", ref)["id"]
    assert (request["kind"], request["channel"]) == ("erasure", "opendsr")
    assert other.call("POST", "/v2/requests", asked(), key="cdp_wrong").status_code == 401
    said = signed(other, other.call("GET", "/v2/discovery", key=""), domain="mailer.example")
    raw = {"identity_type": "controller_customer_id", "identity_format": "raw"}
    assert raw in said["supported_identities"]
    certificate = other.services.opendsr.signer.certificate
    answers = [one for one in theirs.passed if one[1].startswith("/v2/") and not one[1].endswith(".pem")]
    assert len(answers) == 2
    for _, _, body, headers in answers:
        assert signed_by(certificate, body, headers["x-opendsr-signature"])
    assert b"PRIVATE" not in certificate
    assert repr(other.services.opendsr.signer) == "<certified signer>"
    return {PROCESSOR[0], *PROCESSOR[4:8], "version in the URL", "correct creation"}


def done(mine: Desk, other: Desk, ours: Front, theirs: Front, clock: FixedClock) -> set[str]:
    """It is heard of by callback, and by asking."""
    other.work()
    other.turn()
    request_id = mine.caller.api("GET", "/rights/requests")["items"][0]["id"]
    assert recipients(mine, request_id)[0]["state"] == "in_progress"
    other.hand.done = Fulfilled()
    clock.advance(3601 * SECOND)
    other.work()
    assert tell(mine) == 1, "asked, before the callback"
    assert recipients(mine, request_id)[0]["state"] == "completed"
    other.turn()
    assert ours.calls("/v2/callbacks/") == 2
    assert status_of(mine, ASKED) == "completed"
    assert (theirs.calls("/v2/discovery"), theirs.calls("/v2/certificate.pem")) == (2, 2), "each hour once"
    return {"callbacks on change", "correct status objects", *CONTROLLER[1:5]}


def on_record(mine: Desk, other: Desk) -> set[str]:
    """What was heard, and what was asked, can be looked up."""
    heard = mine.caller.api("GET", "/audit?action=opendsr.recipient")["items"]
    assert [one["object"]["state"] for one in heard] == ["completed", "in_progress", "pending"]
    assert other.caller.api("GET", "/audit?action=opendsr.take")["items"]
    other.services.opendsr_reports.observe()
    assert 'cdp_opendsr_callbacks{state="sent"} 2.0' in prometheus_client.generate_latest().decode()
    return {"logging", "metrics", "logging of what is heard"}


def other_types(other: Desk, ref: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Access by an extension, and a portability that is taken back."""
    body = asked(subject_request_type="access", extensions={"mailer.example": {"user_ids": [ref]}})
    del body["subject_identities"]
    signed(other, other.call("POST", "/v2/requests", body), 201, domain="mailer.example")
    gone = asked(subject_request_type="portability")
    other.call("POST", "/v2/requests", gone)
    assert other.call("DELETE", f"/v2/requests/{gone['subject_request_id']}").status_code == 202
    place = "https://mailer.example/preferences/archive/unguessable"
    monkeypatch.setattr(other.services.opendsr_reports, "_results", lambda _: place)
    other.work()
    said = other.call("GET", f"/v2/requests/{body['subject_request_id']}").json()
    assert (said["request_status"], said["results_url"], said["results_count"]) == ("completed", place, 1)
    return {"cancellation", "secured results", "a defined process for each request type"}


def test_the_very_same_request_twice_at_a_time_is_made_once(pair: Pair) -> None:
    mine = pair[0]
    raw = msgspec.json.encode(asked())
    answers = []

    def ask() -> None:
        answers.append(mine.call("POST", "/v2/requests", raw=raw))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len(mine.caller.api("GET", "/rights/requests")["items"]) == 1
