"""Requests of people about their data, as officers see them, and as sources pass them on.

The routes *are* the purpose: a caller's key must carry ``rights``, and nothing else is stated. A server
source passes on what somebody asks who says that an identifier is theirs: it is told no more than that the
request came in, whoever has the identifier, and after no less time.
"""

from __future__ import annotations

import binascii
import time
from base64 import b64decode, b64encode
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from cdp.api.auth import Caller, Denials, address_of, allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedDenials, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, checked_limit, decode_cursor, page_of
from cdp.api.rest.identifiers import IdentifierBody
from cdp.api.rest.preferences import Language
from cdp.api.services import Services
from cdp.clock import Micros, parse_rfc3339, rfc3339
from cdp.errors import InvalidInputError, NotPermittedError, noted
from cdp.rights import (
    OPEN,
    CheckMethod,
    Correction,
    DenialReason,
    ExtensionReason,
    RequestKind,
    RequestState,
    RightsRequest,
    Wanted,
    due_state,
    reminder,
)

PURPOSE = "rights"
_OFFICER = allow("officer")
_NOTE = 4_000
_ANSWERS_AFTER = 0.1
"""Seconds: longer than opening a request takes, so that the time of the answer says nothing."""
RequestId = FromPath[str]
Json = dict[str, Any]


class RequestBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody asks for.

    :param purpose: of an objection: the one that is objected to; all that can be unless given.
    :param verified: an officer's word that this is the person; a source's is never taken for that.
    """

    identifier: IdentifierBody
    kind: RequestKind
    purpose: str = ""
    verified: bool = True
    language: Language | None = None


class MethodBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How it was seen who asks."""

    method: CheckMethod


class DenialBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a request is denied."""

    reason: DenialReason


class ExtensionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why it takes longer."""

    reason: ExtensionReason


class ProofBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an identity check looks at: a file in Base64, or an officer's note."""

    method: CheckMethod
    content: str = ""
    note: Annotated[str, msgspec.Meta(max_length=_NOTE)] = ""

    def __repr__(self) -> str:
        return f"<proof by {self.method}>"


class CorrectionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a trait is to be; ``null`` withdraws it."""

    trait: str
    value: Any

    def __repr__(self) -> str:
        return f"<correction of {self.trait}>"


class CorrectionsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What traits are to be."""

    corrections: list[CorrectionBody]


class LiftBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the person was told that the restriction ends, RFC 3339."""

    told_at: str


@post("/rights/requests", opt=allow("source", "officer"), sync_to_thread=True)
def open_request(
    request: Request[Any, Any, Any],
    services: InjectedServices,
    caller: InjectedCaller,
    denials: InjectedDenials,
    data: JSONBody[RequestBody],
) -> Json:
    """Open a request; the same one that is open is answered instead."""
    began = time.monotonic()
    services.asking.take(caller.actor, address_of(request))
    identifier = (data.identifier.type, data.identifier.value)
    if caller.source is not None:
        _require_server(caller, denials)
        made = services.rights.ask(
            caller.actor,
            caller.source,
            identifier,
            data.kind,
            purpose=data.purpose,
            language=data.language or "",
        )
        time.sleep(max(0.0, _ANSWERS_AFTER - (time.monotonic() - began)))
        return {
            "id": made.request_id,
            "kind": made.kind,
            "state": "identity_check",
            "opened_at": rfc3339(made.opened_at),
            "due_at": rfc3339(made.due_at),
        }
    caller.state(PURPOSE)
    made = open_as_officer(services, caller, identifier, data.kind, data.purpose, checked=data.verified)
    return rights_request(services, made)


def open_as_officer(
    services: Services,
    caller: Caller,
    identifier: tuple[str, str],
    kind: RequestKind,
    purpose: str,
    *,
    checked: bool,
) -> RightsRequest:
    """Open a request on an officer's word, who knows who asks, or does not know yet."""
    if checked:
        return services.rights.open_for(caller.actor, identifier, kind, purpose)
    return services.rights.ask(caller.actor, None, identifier, kind, purpose=purpose)


@get("/rights/requests", opt=_OFFICER, sync_to_thread=True)
def list_requests(
    services: InjectedServices,
    caller: InjectedCaller,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    state_: Annotated[RequestState | None, QueryParameter(name="state")] = None,
    kind: FromQuery[RequestKind | None] = None,
    due: FromQuery[Literal["ok", "soon", "late"] | None] = None,
) -> Page[Json]:
    """List requests, newest first."""
    caller.state(PURPOSE)
    wanted = Wanted(state=state_, kind=kind, due=due)
    found = services.rights.page(caller.actor, checked_limit(limit) + 1, request_cursor(cursor), wanted)
    page = page_of(found, limit, PURPOSE, request_position)
    return Page([rights_request(services, request) for request in page.items], page.next)


@get("/rights/requests/{request_id:str}", opt=_OFFICER, sync_to_thread=True)
def read_request(services: InjectedServices, caller: InjectedCaller, request_id: RequestId) -> Json:
    """Show a request with its steps, and who was told of it."""
    caller.state(PURPOSE)
    request = services.rights.find(caller.actor, request_id)
    return {
        **rights_request(services, request),
        "steps": [
            {
                "state": step.state,
                "at": rfc3339(step.at),
                "due_at": rfc3339(step.due_at),
                "reason": step.reason or None,
            }
            for step in services.rights.steps(request_id)
        ],
        "told": [
            {"destination": told[0], "purpose": told[1], "message": told[2], "acknowledged": told[3]}
            for told in services.rights.told(request_id)
        ],
    }


@post("/rights/requests/{request_id:str}/verify", opt=_OFFICER, sync_to_thread=True, status_code=200)
def verify_request(
    services: InjectedServices, caller: InjectedCaller, request_id: RequestId, data: JSONBody[MethodBody]
) -> Json:
    """Record that whoever asked is who they say; what the check looked at is destroyed."""
    caller.state(PURPOSE)
    return rights_request(services, services.rights.verify(caller.actor, request_id, data.method))


@post("/rights/requests/{request_id:str}/deny", opt=_OFFICER, sync_to_thread=True, status_code=200)
def deny_request(
    services: InjectedServices, caller: InjectedCaller, request_id: RequestId, data: JSONBody[DenialBody]
) -> Json:
    """Deny a request."""
    caller.state(PURPOSE)
    return rights_request(services, services.rights.deny(caller.actor, request_id, data.reason))


@post("/rights/requests/{request_id:str}/cancel", opt=_OFFICER, sync_to_thread=True, status_code=200)
def cancel_request(services: InjectedServices, caller: InjectedCaller, request_id: RequestId) -> Json:
    """Take a request back, as the person wishes."""
    caller.state(PURPOSE)
    return rights_request(services, services.rights.cancel(caller.actor, request_id))


@post("/rights/requests/{request_id:str}/extend", opt=_OFFICER, sync_to_thread=True, status_code=200)
def extend_request(
    services: InjectedServices, caller: InjectedCaller, request_id: RequestId, data: JSONBody[ExtensionBody]
) -> Json:
    """Put off by when a request is answered: once, within its first period, with notice to the person."""
    caller.state(PURPOSE)
    return rights_request(services, services.rights.extend(caller.actor, request_id, data.reason))


@post("/rights/requests/{request_id:str}/complete", opt=_OFFICER, sync_to_thread=True, status_code=200)
def complete_request(services: InjectedServices, caller: InjectedCaller, request_id: RequestId) -> Json:
    """Record that a request is met whose work was done by hand."""
    caller.state(PURPOSE)
    return rights_request(services, services.rights.complete(caller.actor, request_id, {}))


@post("/rights/requests/{request_id:str}/corrections", opt=_OFFICER, sync_to_thread=True, status_code=200)
def correct_request(
    services: InjectedServices, caller: InjectedCaller, request_id: RequestId, data: JSONBody[CorrectionsBody]
) -> Json:
    """Correct or withdraw traits of the person; recipients are told, and the request is fulfilled."""
    caller.state(PURPOSE)
    given = [Correction(trait=one.trait, value=one.value) for one in data.corrections]
    return rights_request(services, services.rights.correct(caller.actor, request_id, given))


@post("/rights/requests/{request_id:str}/lift", opt=_OFFICER, sync_to_thread=True, status_code=200)
def lift_request(
    services: InjectedServices, caller: InjectedCaller, request_id: RequestId, data: JSONBody[LiftBody]
) -> Json:
    """Lift what a request restrained, after the person was told."""
    caller.state(PURPOSE)
    try:
        told_at = parse_rfc3339(data.told_at)
    except ValueError:
        raise InvalidInputError("told_at is a time, RFC 3339") from None
    if told_at > services.clock.now():
        raise InvalidInputError("the person is told first (GDPR Art. 18(3)): told_at lies ahead")
    services.rights.lift(caller.actor, request_id, told_at)
    return rights_request(services, services.rights.find(caller.actor, request_id))


@post("/rights/requests/{request_id:str}/proofs", opt=_OFFICER, sync_to_thread=True)
def add_proof(
    services: InjectedServices, caller: InjectedCaller, request_id: RequestId, data: JSONBody[ProofBody]
) -> Json:
    """Keep what an identity check looks at, sealed, until it ends."""
    caller.state(PURPOSE)
    if bool(data.content) == bool(data.note):
        raise InvalidInputError("a proof is a file (content, Base64) or a note")
    try:
        content = b64decode(data.content, validate=True) if data.content else data.note.encode()
    except (binascii.Error, ValueError):
        raise InvalidInputError("content is Base64") from None
    return {"proof": services.rights.proofs.add(caller.actor, request_id, data.method, content)}


@get("/rights/requests/{request_id:str}/proofs", opt=_OFFICER, sync_to_thread=True)
def read_proofs(services: InjectedServices, caller: InjectedCaller, request_id: RequestId) -> Json:
    """Show what an identity check looks at, while it lasts."""
    caller.state(PURPOSE)
    return {
        "items": [
            {
                "proof": proof.proof_no,
                "method": proof.method,
                "at": rfc3339(proof.at),
                "content": b64encode(proof.content).decode(),
            }
            for proof in services.rights.proofs.read(caller.actor, request_id)
        ]
    }


def _require_server(caller: Caller, denials: Denials) -> None:
    """Let server sources pass: a browser's key is anybody's, and a restriction binds at once.

    :raises NotPermittedError: another source's key; the refusal is recorded.
    """
    if caller.source is None or caller.source.kind != "server":
        denials.record(caller.actor, "rights.open", "rights")
        raise noted(NotPermittedError("requests are passed on by server sources, and opened by officers"))


def request_cursor(cursor: str | None) -> tuple[Micros, str] | None:
    """Return the place that a cursor of this list names."""
    at = decode_cursor(PURPOSE, cursor, int, str)
    return None if at is None else (at[0], at[1])


def request_position(request: RightsRequest) -> tuple[Micros, str]:
    """Return the place of a request in the list."""
    return request.opened_at, request.request_id


def rights_request(services: Services, request: RightsRequest) -> Json:
    """Return a request as REST shows it to officers."""
    now, ended = services.clock.now(), request.state not in OPEN
    asked, due = request.submitted_at, request.due_at
    return {
        "id": request.request_id,
        "kind": request.kind,
        "state": request.state,
        "since": rfc3339(request.state_at),
        "channel": request.channel,
        "known": request.known,
        "profile": services.profile_ids.encode(request.identity_no) if request.known else None,
        "purpose": request.purpose or None,
        "regulation": request.regulation or None,
        "external_id": request.external_id or None,
        "opened_at": rfc3339(request.opened_at),
        "submitted_at": rfc3339(asked),
        "acknowledge_by": rfc3339(request.acknowledge_by) if request.acknowledge_by else None,
        "due_at": rfc3339(due),
        "extended": request.extended,
        "due": None if ended else due_state(asked, due, now),
        "reminder": None if ended else reminder(asked, due, now),
        "reason": request.reason or None,
        "result": request.result,
    }


HANDLERS = [
    open_request,
    list_requests,
    read_request,
    verify_request,
    deny_request,
    cancel_request,
    extend_request,
    complete_request,
    correct_request,
    lift_request,
    add_proof,
    read_proofs,
]
