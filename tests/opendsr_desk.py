"""A platform that speaks OpenDSR, turned by hand, and what controllers and recipients do with it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from caller import Caller
from litestar.testing import TestClient
from opendsr_world import Answer, Authority, Processor, signed_by

from cdp import app
from cdp.access import Principal
from cdp.clock import FixedClock
from cdp.policy import read_folder
from cdp.rights import Denied, Fulfilled, Fulfiller, RequestKind, RightsRequest
from cdp.rights.work import Work
from cdp.settings import Settings

POLICIES = Path(__file__).parents[1] / "policies"
ADA = "ada@people.example"
ASKED = "a7551968-d5d6-44b2-9831-815ac9017798"
EMAIL = "marketing.communications.email"
DEFINITION = {"name": "germans", "where": {"all": [{"trait": "country", "op": "eq", "value": "Germany"}]}}


class Hand:
    """Fulfils requests as a test tells it: nothing while ``done`` is None."""

    def __init__(self) -> None:
        self.done: Fulfilled | Denied | None = None
        self.asked: list[RightsRequest] = []

    def __call__(self, request: RightsRequest) -> Fulfilled | Denied | None:
        self.asked.append(request)
        return self.done


class Desk:
    """A platform whose clockwork stands still until the test turns it, and whose requests a test fulfils."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.services = caller.services
        self.hand = Hand()
        kinds: tuple[RequestKind, ...] = ("access", "portability", "erasure")
        fulfillers: dict[RequestKind, Fulfiller] = dict.fromkeys(kinds, self.hand)
        here = self.services
        self.work = Work(here.committer, here.rights._steps, here.clock, fulfillers).advance
        made = caller.api(
            "POST",
            "/keys",
            {"name": "desk", "roles": ["destination"], "destination": "controller", "purposes": ["rights"]},
        )
        self.key, self.key_id = made["key"], made["id"]

    def call(
        self, method: str, path: str, body: object = None, *, key: str | None = None, raw: bytes | None = None
    ) -> httpx.Response:
        """Call a route of OpenDSR as the controller."""
        used = self.key if key is None else key
        headers = {"Authorization": f"Bearer {used}"} if used else {}
        content = raw if raw is not None else None if body is None else msgspec.json.encode(body)
        return self.caller.http.request(method, path, headers=headers, content=content)

    def declare(self, destination: str, url: str) -> None:
        """Put policies in force by which a destination takes requests at ``url``; empty: none."""
        files = read_folder(POLICIES)
        if url:
            files[f"destinations/{destination}.yaml"] += f"\nopendsr: {{url: '{url}'}}\n".encode()
        verbs, held = self.services.policies, self.services.bundle
        officer = Principal(key_id=1, name="officer", roles=frozenset({"officer"}))
        proposal = verbs.propose(officer, verbs.check(files), files, held.sha256, {}, {})
        verbs.approve(officer, proposal.proposal_id)

    def turn(self) -> int:
        """Have controllers called back what there is; returns how many were reached."""
        self.services.opendsr_reports.follow()
        return self.services.opendsr_reports.send()

    def people(self, *names: str) -> None:
        """Have people known, by user id and address."""
        for name in names:
            traits = {"email": f"{name}@people.example", "country": "Germany"}
            self.caller.send({"type": "identify", "userId": f"user-{name}", "traits": traits})


@contextmanager
def desk_of(settings: Settings, clock: FixedClock) -> Iterator[Desk]:
    """Run a platform of these settings."""
    key = (settings.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
    platform = app.build(settings, clock)
    platform.worker.start = lambda: None  # type: ignore[method-assign]  # the test turns it
    with TestClient(app.application(platform)) as http:
        yield Desk(Caller(http, key, platform.services))


def speaking(settings: Settings, authority: Authority, domain: str, **more: Any) -> Settings:
    """Return settings of a platform that speaks OpenDSR under a domain."""
    certificate, key = authority.issue(domain, key=domain)
    return msgspec.structs.replace(
        settings,
        public_url=f"https://{domain}",
        four_eyes=False,
        webhook_loopback=True,
        opendsr_certificate=certificate,
        opendsr_key=key,
        opendsr_authorities=authority.file,
        **more,
    )


# -- a controller


def asked(value: str = ADA, **changes: Any) -> dict[str, Any]:
    return {
        "regulation": "gdpr",
        "subject_request_id": str(uuid.uuid4()),
        "subject_request_type": "erasure",
        "submitted_time": "2026-02-28T12:00:00Z",
        "subject_identities": [{"identity_type": "email", "identity_value": value, "identity_format": "raw"}],
    } | changes


def signed(desk: Desk, answer: httpx.Response, status: int = 200, *, domain: str = "cdp.example") -> Any:
    """Return what an answer says, once its signature was checked against the certificate served."""
    assert answer.status_code == status, answer.text
    certificate = desk.call("GET", "/v2/certificate.pem", key="").content
    for family in ("X-OpenDSR", "X-OpenGDPR"):
        assert answer.headers[f"{family}-Processor-Domain"] == domain
        assert signed_by(certificate, answer.content, answer.headers[f"{family}-Signature"])
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "application/json"
    return answer.json()


def status_of(desk: Desk, request_id: str) -> Any:
    return signed(desk, desk.call("GET", f"/v2/requests/{request_id}"))["request_status"]


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


# -- a recipient


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


def from_controller(desk: Desk, name: str) -> str:
    """Have a controller ask for an erasure that is then fulfilled here; returns its own id for it."""
    body = {
        "regulation": "gdpr",
        "subject_request_id": ASKED,
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
    return ASKED


def pending(desk: Desk, mailer: Processor) -> tuple[str, str]:
    """Return (our request, its id at the mailer) of an erasure that the mailer took."""
    deliver(desk, "ada")
    request_id = erase(desk, "ada")
    tell(desk)
    mailer.status = "completed"
    return request_id, mailer.posted()[0]["subject_request_id"]
