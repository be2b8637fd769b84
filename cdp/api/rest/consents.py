"""Consent by API: record what somebody said, and read the state that follows from it.

A recorded consent is an *act* (privacy.md, consent rule 2) and goes through the pipeline like any other event
(``cdp/told.py``), so that the same rules decide whose it is. An officer is told the state that results, a
source whether it is recorded, a server's also as which record, of which it may fetch the receipt. A browser
that names a person without proof that they are there learns only that its word was taken: whether it is
recorded would tell whether somebody was erased.

``restricted`` and ``restriction_lifted`` are an officer's words (GDPR Art. 18): a write key may stand in a
page. A restriction is lifted after the person was told, so the record says when that was.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from cdp.access import Source
from cdp.api.auth import OPEN, Caller, Denials, allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedDenials, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, page_by_key
from cdp.api.request import carries_gpc
from cdp.api.rest.identifiers import IdentifierBody
from cdp.api.rest.preferences import Confirmation, ask_confirmation
from cdp.api.rest.profiles import receipt_path, standing
from cdp.api.services import Services
from cdp.audit import Entry
from cdp.clock import Micros, parse_rfc3339, rfc3339
from cdp.consent import CONFIRMING, RESTRAINING, EventType, RecordState, Standing, Statement, receipt_jwk
from cdp.errors import ConflictError, InvalidInputError, NotFoundError, NotPermittedError, noted
from cdp.identity import AMBIGUOUS
from cdp.store import retrying
from cdp.told import API_SOURCE, Word

OFFICERS_WORDS = frozenset({"restricted", "restriction_lifted"})
LINKS_WORDS = CONFIRMING | {"one_click"}
_EVENT = "Consent Recorded"


Code = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*$", max_length=60)]
"""A short name: what is kept in clear beside a consent has no room for a person's data."""


class ConsentBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody said about one purpose.

    :param identifiers: whose it is; a grant attaches to the authenticated one (rule 4).
    :param event_time: when it was said, RFC 3339; now unless given. Of ``restriction_lifted``: when the
        person was told, which must be given.
    :param user_id_signature: proves a browser's ``user_id`` (docs/consent.md); without it a browser's
        grant binds the device only.
    :param confirm: record nothing yet, but answer with a link for the person to confirm it by.
    """

    identifiers: tuple[IdentifierBody, ...]
    purpose: str
    state: RecordState
    event_time: str | None = None
    event_type: EventType = "regular"
    expires_at: str | None = None
    notice_id: Code | None = None
    notice_version: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)] | None = None
    language: Code | None = None
    method: Code = "api"
    jurisdiction: Code | None = None
    recipients: tuple[Code, ...] = ()
    user_id_signature: str | None = None
    confirm: Literal["double_opt_in"] | None = None

    def __repr__(self) -> str:
        return f"<consent for {self.purpose}>"


class Recorded(msgspec.Struct, frozen=True):
    """What came of a consent.

    :param recorded: whether it is on record; None for who may not know.
    :param record_id: the record made of it; None when it was no news, and for a browser.
    :param standing: the state that followed; None for a source, which may not read.
    :param confirmation: the link by which its person confirms it: nothing is recorded yet where that was
        asked for, and otherwise it is on record and pending, as policy asks for a double opt-in.
    """

    purpose: str
    recorded: bool | None = True
    record_id: int | None = None
    profile_id: str | None = None
    standing: Standing | None = None
    confirmation: Confirmation | None = None


@post("/consents", opt=allow("source", "officer"), sync_to_thread=True)
def record(
    request: Request[Any, Any, Any],
    services: InjectedServices,
    caller: InjectedCaller,
    denials: InjectedDenials,
    data: JSONBody[ConsentBody],
) -> dict[str, Any]:
    """Record what a person said about a purpose; it is an act, so it may lift an earlier restraint."""
    done = record_consent(services, caller, denials, data, carries_gpc(request))
    if done.recorded is None:
        return {"purpose": done.purpose, "accepted": True}
    made: dict[str, Any] = {}
    if done.record_id:
        made = {"record": str(done.record_id), "receipt": receipt_path(done.record_id)}
    if done.confirmation is not None:
        expires_at = rfc3339(done.confirmation.expires_at)
        made["confirmation"] = {"url": done.confirmation.url, "expires_at": expires_at}
    if done.standing is None:
        return {"purpose": done.purpose, "recorded": done.recorded, **made}
    return {"recorded": done.recorded, "profile": done.profile_id, **standing(done.standing), **made}


@get("/consents", opt=allow("officer", purpose=True), sync_to_thread=True)
def states(
    services: InjectedServices,
    caller: InjectedCaller,
    profile: FromQuery[str],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List a profile's state of consent, by purpose, with its reason."""
    items = [standing(state) for state in services.portrait.consents(caller.actor, caller.purpose, profile)]
    return page_by_key(items, limit, cursor, "consents", lambda item: str(item["purpose"]))


@get("/consents/stale", opt=allow("officer"), sync_to_thread=True)
def stale(services: InjectedServices, caller: InjectedCaller) -> dict[str, Any]:
    """Count, by purpose, whose grants have expired or were given on a notice that has materially changed."""
    with services.committer.batch() as batch:
        found = services.ledger.stale(batch.connection)
        batch.record(Entry(action="consent.stale", actor=caller.actor))
    return {"items": [{"purpose": purpose, **counts} for purpose, counts in found.items()], "next": None}


@get("/consents/{record_id:str}/receipt", opt=allow("officer", "source"), sync_to_thread=True)
def receipt(services: InjectedServices, caller: InjectedCaller, record_id: FromPath[str]) -> Response[bytes]:
    """Give the signed receipt of a record: to an officer, and to the server whose word it is."""
    source = caller.source
    if source is not None and source.kind == "browser":
        raise NotPermittedError("a browser's key is public; its receipts are the person's and the officer's")
    number = int(record_id) if record_id.isascii() and record_id.isdigit() and len(record_id) < 20 else 0
    if not 0 < number < 1 << 63:
        raise NotFoundError("there is no consent record with this id")
    only = None if source is None else source.source_id
    made = services.receipts.issue(caller.actor, number, source_id=only)
    return Response(made, media_type="application/json")


@get("/consents/receipts/key", opt=allow(OPEN), sync_to_thread=False)
def receipt_key(services: InjectedServices) -> dict[str, str]:
    """Give the public key of receipts as a JSON Web Key (RFC 8037)."""
    return receipt_jwk(services.receipts.public_key)


def record_consent(
    services: Services,
    caller: Caller,
    denials: Denials,
    data: ConsentBody,
    sec_gpc: bool,  # noqa: FBT001  # what the request carried
) -> Recorded:
    """Record a consent through the pipeline and, for an officer, return the state that followed.

    :raises NotPermittedError: a restriction from anybody but an officer; the refusal is recorded.
    :raises InvalidInputError: the purpose is unknown, a time is unreadable, no identifier is usable, or none
        of them is of somebody for whom this key may grant; nothing is stored.
    :raises ConflictError: an officer names somebody who was erased.
    :raises UnavailableError: the platform failed on it.
    """
    if data.state in OFFICERS_WORDS and not caller.has("officer"):
        denials.record(caller.actor, "consent.record", "consents")
        raise noted(
            NotPermittedError(
                "only an officer records that a use is restricted, and lifts it; "
                "the person's own word is `objected`"
            )
        )
    now = services.clock.now()
    statement = _statement(services, data, now)
    identifiers = _identifiers(services, data, caller.source)
    source = caller.source or API_SOURCE
    if data.confirm is not None:
        asked = ask_confirmation(services, caller, denials, identifiers, statement, source)
        return Recorded(data.purpose, recorded=False, confirmation=asked)
    word = Word(
        source=source,
        event=_EVENT,
        message_id=f"consent-{uuid.uuid4()}",
        identifiers=identifiers,
        statement=statement,
        received_at=now,
        signature=data.user_id_signature,
        sec_gpc=sec_gpc,
    )

    def pending() -> Confirmation | None:
        """Return the link that makes a grant count where policy asks for a double opt-in."""
        needed = services.bundle.purposes[data.purpose].double_opt_in
        if data.state != "granted" or not needed or source.kind != "server":
            return None
        return ask_confirmation(services, caller, denials, identifiers, statement, source)

    taken = services.consent_intake.take(word)
    record_id = next(iter(taken.records), None)
    if caller.source is None:
        if taken.unheard is not None:
            raise ConflictError(
                "this names somebody who was erased and may not come back: of them nothing is recorded"
            )
        answer = retrying(lambda: _answer(services, caller, data.purpose, identifiers[0], record_id))
        return msgspec.structs.replace(answer, confirmation=pending())
    recorded = taken.unheard is None if taken.proven else None
    if source.kind == "browser":
        return Recorded(data.purpose, recorded)
    return Recorded(data.purpose, recorded, record_id, confirmation=pending() if recorded else None)


def _statement(services: Services, data: ConsentBody, now: Micros) -> Statement:
    """Return what was said, dated now unless it says when."""
    if data.method in LINKS_WORDS:
        raise InvalidInputError("this method is recorded by links of ours alone")
    if data.purpose not in services.bundle.purposes:
        raise InvalidInputError("this purpose is not declared in policies/purposes.yaml")
    if not set(data.recipients) <= services.bundle.destinations.keys():
        raise InvalidInputError("a recipient is no destination of policies/destinations")
    said_at = _instant("event_time", data.event_time)
    if data.state == "informed":
        purpose, at = services.bundle.purposes[data.purpose], now if said_at is None else min(said_at, now)
        named, version = data.notice_id, data.notice_version
        if (purpose.notice_named(named, version, at) if named else purpose.notice_at(at)) is None:
            raise InvalidInputError("the purpose declares no such notice in policies/purposes.yaml")
    if data.state == "restriction_lifted" and (said_at is None or said_at > now):
        raise InvalidInputError(
            "restriction_lifted needs event_time: when the person was told, which comes first "
            "(GDPR Art. 18(3))"
        )
    return Statement(
        purpose=data.purpose,
        state=data.state,
        act=True,
        event_time=now if said_at is None else said_at,
        event_type=data.event_type,
        expires_at=_instant("expires_at", data.expires_at),
        notice_id=data.notice_id or "",
        notice_version=data.notice_version,
        language=data.language or "",
        method=data.method,
        jurisdiction=data.jurisdiction or "",
        recipients=data.recipients,
    )


def _identifiers(services: Services, data: ConsentBody, source: Source | None) -> tuple[tuple[str, str], ...]:
    """Return whose it is as (type, value), all of them usable.

    A restraint counts for everybody who may be meant; anything else is told of one. An officer's number,
    which no region reads later, is told as it was found; what a source signed stays as it is.

    :param source: None for an officer, who may mean any region.
    """
    identity = services.identity
    found: list[tuple[str, str]] = []
    with services.store.reading() as connection:
        for item in data.identifiers:
            meant = identity.meant(connection, item.type, item.value, source)
            if data.state not in RESTRAINING:
                meant = tuple(one for one in meant if identity.normalise(item.type, one) is not None)
            if not meant:
                raise InvalidInputError(
                    "an identifier is blocked or malformed, or its type is not declared in "
                    "policies/identity.yaml"
                )
            told = item.value
            if data.state not in RESTRAINING:
                if len(meant) > 1:
                    raise InvalidInputError(AMBIGUOUS)
                if source is None and item.type == "phone":
                    told = meant[0]
            found.append((item.type, told))
    if not found:
        raise InvalidInputError("a consent names at least one identifier of the person")
    return tuple(found)


def _answer(
    services: Services, caller: Caller, purpose: str, identifier: tuple[str, str], record_id: int | None
) -> Recorded:
    """Return the state that followed, and record who recorded the consent and was told the state."""
    with services.committer.batch() as batch:
        connection = batch.connection
        named = services.identity.named(connection, *identifier)
        if not named:
            return Recorded(purpose, record_id=record_id)
        profile_no = services.identity.profile_of(connection, named[0])
        if services.ledger.is_derived(connection):
            states = services.ledger.kept_states(connection, profile_no)
        else:
            members = services.identity.consent_members(connection, [profile_no])[profile_no]
            states = services.ledger.states_of(connection, members)
        state = states.get(purpose)
        subjects = tuple(services.identity.members(connection, profile_no))
        batch.record(
            Entry(
                action="consent.record",
                actor=caller.actor,
                purpose=purpose,
                object={"state": "" if state is None else state.state, "record": record_id or ""},
                subjects=subjects,
            )
        )
    return Recorded(
        purpose, record_id=record_id, profile_id=services.profile_ids.encode(profile_no), standing=state
    )


def _instant(name: str, text: str | None) -> Micros | None:
    try:
        return None if text is None else parse_rfc3339(text)
    except ValueError:
        raise InvalidInputError(f"{name} is not an RFC 3339 time") from None


HANDLERS = [record, states, stale, receipt, receipt_key]
