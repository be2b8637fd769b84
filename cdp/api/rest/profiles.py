"""One person: look-up, portrait, timeline, identifiers, consents, uses; reveal; merge and split.

Invariants: every read needs a stated purpose and is audited by the portrait service; identifiers stand
in bodies, never in URLs; a sealed value is null and its name is in ``masked_fields``; what the policies do
not let the controller see for the purpose is absent.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody

from cdp.api.auth import Caller, allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import (
    DEFAULT_LIMIT,
    Page,
    checked_limit,
    decode_cursor,
    page_by_key,
    page_of,
)
from cdp.api.rest.audit import audit_entry
from cdp.api.rest.identifiers import IdentifierBody
from cdp.clock import rfc3339
from cdp.consent import Standing
from cdp.identity import Identifier, Plan
from cdp.portrait import Disclosure, Portrait
from cdp.profiles import TimelineEvent

_READ = allow("officer", "steward", purpose=True)
_REVEAL = allow("officer", "steward")
_STEWARD = allow("steward")
_USUAL = "data_quality"
"""What a steward who states no purpose changes links for, where the key may."""


class MergeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Profiles to link by a steward's word."""

    ids: tuple[str, ...]
    dry_run: bool = True


class SplitBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether to do it, or to say what it would do."""

    dry_run: bool = True


class RevealBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which fields to open, for which purpose, and why.

    :param reason: a short code, ``customer_request``, or a sentence; the log holds a digest of a sentence.
    """

    fields: tuple[str, ...]
    purpose: str
    reason: str


@post("/profiles/lookup", opt=_READ, sync_to_thread=True, status_code=200)
def lookup(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[IdentifierBody]
) -> dict[str, Any]:
    """Find the profile that has an identifier."""
    found = services.portrait.lookup(caller.actor, caller.purpose, data.type, data.value)
    return portrait(found)


@get("/profiles/{profile_id:str}", opt=_READ, sync_to_thread=True)
def read_profile(
    services: InjectedServices, caller: InjectedCaller, profile_id: FromPath[str]
) -> dict[str, Any]:
    """Show a profile: its clear traits and its segments."""
    return portrait(services.portrait.portrait(caller.actor, caller.purpose, profile_id))


@get("/profiles/{profile_id:str}/events", opt=_READ, sync_to_thread=True)
def events(
    services: InjectedServices,
    caller: InjectedCaller,
    profile_id: FromPath[str],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List a profile's events, newest first."""
    at = decode_cursor("events", cursor, int, str)
    before = None if at is None else (at[0], bytes_of(at[1]))
    found = services.portrait.events(
        caller.actor, caller.purpose, profile_id, checked_limit(limit) + 1, before
    )
    page = page_of(found, limit, "events", lambda event: (event.occurred_at, event.event_id.hex()))
    return Page([timeline_event(event) for event in page.items], page.next)


@get("/profiles/{profile_id:str}/identifiers", opt=_READ, sync_to_thread=True)
def identifiers(
    services: InjectedServices,
    caller: InjectedCaller,
    profile_id: FromPath[str],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List a profile's identifiers; each has the id under which it answers once it is split off."""
    found = services.portrait.identifiers(caller.actor, caller.purpose, profile_id)
    items = [identifier(item, services.profile_ids.encode(item.identity_no)) for item in found]
    return page_by_key(items, limit, cursor, "identifiers", lambda item: str(item["id"]))


@get("/profiles/{profile_id:str}/links", opt=_READ, sync_to_thread=True)
def links(
    services: InjectedServices,
    caller: InjectedCaller,
    profile_id: FromPath[str],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List what was decided about a profile's links, with the event that is the evidence."""
    found = services.portrait.links(caller.actor, caller.purpose, profile_id)
    encode = services.profile_ids.encode
    items = [
        {
            "identities": [encode(int(str(link["low"]))), encode(int(str(link["high"])))],
            "accepted": link["accepted"],
            "reason": link["reason"],
            "evidence": link["event_id"].hex() if isinstance(link["event_id"], bytes) else None,
            "rules_version": link["rules_version"],
        }
        for link in found
    ]
    numbered = [{"no": f"{number:08d}", **item} for number, item in enumerate(items)]
    return page_by_key(numbered, limit, cursor, "links", lambda item: str(item["no"]))


@get("/profiles/{profile_id:str}/consents", opt=_READ, sync_to_thread=True)
def consents(
    services: InjectedServices,
    caller: InjectedCaller,
    profile_id: FromPath[str],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List a profile's state of consent, by purpose, with its reason."""
    found = services.portrait.consents(caller.actor, caller.purpose, profile_id)
    items = [standing(state) for state in found]
    return page_by_key(items, limit, cursor, "consents", lambda item: str(item["purpose"]))


@get("/profiles/{profile_id:str}/uses", opt=_READ, sync_to_thread=True)
def uses(
    services: InjectedServices,
    caller: InjectedCaller,
    profile_id: FromPath[str],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List who used this person's data, for what, newest first."""
    at = decode_cursor("uses", cursor, int)
    found = services.portrait.uses(
        caller.actor, caller.purpose, profile_id, checked_limit(limit) + 1, None if at is None else at[0]
    )
    page = page_of(found, limit, "uses", lambda entry: (entry.index,))
    return Page([audit_entry(entry) for entry in page.items], page.next)


@post("/profiles/{profile_id:str}/reveal", opt=_REVEAL, sync_to_thread=True, status_code=200)
def reveal(
    services: InjectedServices, caller: InjectedCaller, profile_id: FromPath[str], data: JSONBody[RevealBody]
) -> dict[str, Any]:
    """Open fields of a profile, as far as the policies let the controller see them for the purpose."""
    purpose = caller.state(data.purpose)
    return disclosure(services.reveal(caller.actor, purpose, profile_id, data.fields, data.reason), purpose)


@post("/profiles/merge", opt=_STEWARD, sync_to_thread=True, status_code=200)
def merge(services: InjectedServices, caller: InjectedCaller, data: JSONBody[MergeBody]) -> dict[str, Any]:
    """Say what linking profiles would do; do it with ``dry_run: false``."""
    done = services.steward.merge(caller.actor, relinking(caller), data.ids, dry_run=data.dry_run)
    return plan(done, services.profile_ids.encode)


@post("/profiles/{profile_id:str}/split", opt=_STEWARD, sync_to_thread=True, status_code=200)
def split(
    services: InjectedServices,
    caller: InjectedCaller,
    profile_id: FromPath[str],
    data: JSONBody[SplitBody | None] = None,
) -> dict[str, Any]:
    """Say what taking this id's identifier out of its profile would do; do it with ``dry_run: false``."""
    dry_run = True if data is None else data.dry_run
    done = services.steward.split(caller.actor, relinking(caller), profile_id, dry_run=dry_run)
    return plan(done, services.profile_ids.encode)


def relinking(caller: Caller) -> str:
    """Return the purpose for which a steward changes links: as stated, else the usual one if the key may.

    :raises InvalidInputError: none is stated, and the key does not carry the usual one.
    :raises NotPermittedError: the key does not carry the stated purpose.
    """
    usual = not caller.purpose and caller.principal.may_state(_USUAL)
    return _USUAL if usual else caller.state(caller.purpose)


def disclosure(found: Disclosure, purpose: str) -> dict[str, Any]:
    """Return what was revealed as REST shows it: what is not there is under ``withheld``, with the reason."""
    revealed = found.revealed
    absent = {name: "not_permitted" for name, word in revealed.plan.items() if word == "drop"}
    absent |= {name: "not_known" for name, value in revealed.values.items() if value is None}
    return {
        "id": found.profile_id,
        "purpose": purpose,
        "fields": {name: value for name, value in revealed.values.items() if value is not None},
        "transforms": revealed.plan,
        "withheld": absent,
        "bundle": revealed.bundle,
        "audit_index": found.audit_index,
    }


def bytes_of(text: str) -> bytes:
    """Return the bytes behind hex in a cursor; a broken one compares as the first."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def portrait(found: Portrait) -> dict[str, Any]:
    """Return a portrait as REST shows it."""
    return {
        "id": found.id,
        "traits": found.traits,
        "masked_fields": found.masked_fields,
        "segments": found.segments,
        "identities": found.identities,
    }


def timeline_event(event: TimelineEvent) -> dict[str, Any]:
    """Return an event as REST shows it: what is declared and permitted; no name where it tells too much."""
    return {
        "id": event.event_id.hex(),
        "type": event.type,
        "name": event.name or None,
        "occurred_at": rfc3339(event.occurred_at),
        "received_at": rfc3339(event.received_at),
        "source": str(event.source_id),
        "properties": msgspec.Raw(event.properties or b"{}"),
        "masked_fields": ["*"] if event.more else [],
    }


def identifier(item: Identifier, own_id: str) -> dict[str, Any]:
    """Return an identifier as REST shows it: never its value."""
    return {
        "id": own_id,
        "type": item.type,
        "class": "device" if item.device else "person",
        "value": None,
        "masked_fields": ["value"],
        "created_at": rfc3339(item.created_at),
    }


def standing(state: Standing) -> dict[str, Any]:
    """Return a consent state as REST shows it."""
    return {
        "purpose": state.purpose,
        "state": state.state,
        "reason": state.reason,
        "since": rfc3339(state.since) if state.since else None,
        "granted_at": rfc3339(state.granted_at) if state.granted_at else None,
        "expires_at": rfc3339(state.expires_at) if state.expires_at else None,
        "notice_given": rfc3339(state.notice_given) if state.notice_given else None,
        "recipients": list(state.recipients),
        "record": str(state.record_id) if state.record_id is not None else None,
        "receipt": receipt_path(state.record_id) if state.record_id is not None else None,
    }


def receipt_path(record_id: int) -> str:
    """Return where the receipt of a consent record is."""
    return f"/api/v1/consents/{record_id}/receipt"


def plan(done: Plan, encode: Any) -> dict[str, Any]:
    """Return a merge or split plan as REST shows it: groups of identities, by opaque ids."""

    def groups(of: dict[int, tuple[int, ...]]) -> list[dict[str, Any]]:
        return [
            {"id": encode(number), "identities": [encode(member) for member in members]}
            for number, members in of.items()
        ]

    return {
        "dry_run": not done.done,
        "before": groups(done.before),
        "after": groups(done.after),
        "links": [[encode(low), encode(high)] for low, high in done.pairs],
        "refused": done.refused,
    }


HANDLERS = [
    lookup,
    merge,
    read_profile,
    events,
    identifiers,
    links,
    consents,
    uses,
    reveal,
    split,
]
