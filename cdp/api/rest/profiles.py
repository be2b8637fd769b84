"""One person: look-up, portrait, timeline, identifiers, consents, uses; reveal.

Invariants: every read needs a stated purpose and is audited by the portrait service; identifiers stand
in bodies, never in URLs; a sealed value is null and its name is in ``masked_fields``; what the policies do
not let the controller see for the purpose is absent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody

from cdp.api.asking import CountedItems, shown_page, use_page
from cdp.api.auth import allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import (
    DEFAULT_LIMIT,
    Page,
    checked_limit,
    decode_cursor,
    page_by_key,
    page_of,
)
from cdp.api.rest.identifiers import IdentifierBody
from cdp.clock import rfc3339
from cdp.consent import Standing
from cdp.crypto import ProfileIds
from cdp.portrait import (
    Disclosure,
    Link,
    Membership,
    Portrait,
    Provenance,
    ShownEvent,
    ShownIdentifier,
    ShownReason,
)

Encode = Callable[[int], str]
"""Returns the opaque id of an identity."""
_READ = allow("officer", "steward", purpose=True)
_REVEAL = allow("officer", "steward")


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
    """Show a profile: its clear traits with where they come from, its tags and its segments."""
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
    found = services.portrait.events(
        caller.actor, caller.purpose, profile_id, checked_limit(limit) + 1, event_place(cursor)
    )
    page = page_of(found, limit, "events", event_position)
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
    encode = services.profile_ids.encode
    at = decode_cursor("identifiers", cursor, str)
    found = services.portrait.identifiers(
        caller.actor, caller.purpose, profile_id, checked_limit(limit) + 1, None if at is None else at[0]
    )
    page = page_of(found, limit, "identifiers", lambda item: (encode(item.identity_no),))
    return Page([identifier(item, encode) for item in page.items], page.next)


@get("/profiles/{profile_id:str}/links", opt=_READ, sync_to_thread=True)
def links(
    services: InjectedServices,
    caller: InjectedCaller,
    profile_id: FromPath[str],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List what was decided about a profile's links, newest first, with the evidence and why, in words."""
    ids = services.profile_ids
    before = link_place(ids, cursor)
    found = services.portrait.links(
        caller.actor, caller.purpose, profile_id, checked_limit(limit) + 1, before
    )
    page = page_of(found, limit, "links", lambda item: link_position(item, ids.encode))
    return Page([link(item, ids.encode) for item in page.items], page.next)


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
) -> CountedItems:
    """List who used this person's data, for what, newest first."""
    return shown_page(use_page(services, caller.actor, caller.purpose, profile_id, limit, cursor))


@get("/profiles/{profile_id:str}/segments/{name:str}", opt=_READ, sync_to_thread=True)
def why(
    services: InjectedServices, caller: InjectedCaller, profile_id: FromPath[str], name: FromPath[str]
) -> dict[str, Any]:
    """Say why somebody is in a segment, or is not: each condition, its value, the events that decide it."""
    found = services.portrait.why(caller.actor, caller.purpose, profile_id, name)
    return {
        "segment": found.why.segment,
        "version": found.why.version,
        "member": found.why.member,
        "restrained": found.why.restrained,
        "as_of": found.why.as_of,
        "evaluated_at": rfc3339(found.why.evaluated_at),
        "reason": reason(found.reason),
    }


def reason(held: ShownReason) -> dict[str, Any]:
    """Return a condition for one person as REST shows it: what does not apply is left out."""
    shown: dict[str, Any] = {"kind": held.kind, "holds": held.holds}
    if held.condition:
        shown["condition"] = held.condition
    if held.kind == "trait":
        shown["value"] = held.value
    if held.matched is not None:
        shown |= {"matched": held.matched, "amount": held.amount}
    if held.kind == "ratio":
        shown["amount"] = held.amount
    if held.steps:
        shown["steps"] = held.steps
    if held.kind in {"event", "sequence"}:
        shown["events"] = [
            {
                "type": event.type,
                "name": event.name,
                "occurred_at": rfc3339(event.occurred_at),
                "properties": event.read,
            }
            for event in held.events
        ]
    if held.masked_fields:
        shown["masked_fields"] = held.masked_fields
    if held.parts:
        shown["parts"] = [reason(part) for part in held.parts]
    return shown


@post("/profiles/{profile_id:str}/reveal", opt=_REVEAL, sync_to_thread=True, status_code=200)
def reveal(
    services: InjectedServices, caller: InjectedCaller, profile_id: FromPath[str], data: JSONBody[RevealBody]
) -> dict[str, Any]:
    """Open fields of a profile, as far as the policies let the controller see them for the purpose."""
    purpose = caller.state(data.purpose)
    return disclosure(services.reveal(caller.actor, purpose, profile_id, data.fields, data.reason), purpose)


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
        "provenance": {name: provenance(held) for name, held in found.provenance.items()},
        "tags": [
            {"name": tag.name, "value": tag.value, "basis": tag.basis, "version": tag.version}
            for tag in found.tags
        ],
        "segments": found.segments,
        "memberships": [membership(one) for one in found.memberships],
        "identities": found.identities,
    }


def membership(held: Membership) -> dict[str, Any]:
    """Return by which definition somebody is in a segment, and as of when, as REST shows it."""
    return {
        "segment": held.segment,
        "version": held.version,
        "evaluated_at": rfc3339(held.evaluated_at),
    }


def provenance(held: Provenance) -> dict[str, Any]:
    """Return where a trait's value comes from as REST shows it."""
    return {
        "source": held.source,
        "observed_at": rfc3339(held.observed_at),
        "rule": held.rule,
        "sources": held.sources,
        "conflict": held.conflict,
    }


def event_place(cursor: str | None) -> tuple[int, int, bytes] | None:
    """Return where a cursor of the timeline stands: (occurred_at, received_at, event id)."""
    at = decode_cursor("events", cursor, int, int, str)
    return None if at is None else (at[0], at[1], bytes_of(at[2]))


def event_position(event: ShownEvent) -> tuple[int, int, str]:
    """Return where an event stands in the timeline, for a cursor."""
    return event.occurred_at, event.received_at, event.event_id.hex()


def timeline_event(event: ShownEvent) -> dict[str, Any]:
    """Return an event as REST shows it: what is declared and permitted; no name where it tells too much."""
    return {
        "id": event.event_id.hex(),
        "type": event.type,
        "name": event.name,
        "occurred_at": rfc3339(event.occurred_at),
        "received_at": rfc3339(event.received_at),
        "source": event.source,
        "properties": msgspec.Raw(event.properties or b"{}"),
        "masked_fields": ["*"] if event.more else [],
    }


def identifier(item: ShownIdentifier, encode: Encode) -> dict[str, Any]:
    """Return an identifier as REST shows it: of its value no more than a mask."""
    return {
        "id": encode(item.identity_no),
        "type": item.type,
        "class": "device" if item.device else "person",
        "value": None,
        "masked": item.masked,
        "masked_fields": item.masked_fields,
        "source": item.source,
        "created_at": rfc3339(item.created_at),
    }


def link(item: Link, encode: Encode) -> dict[str, Any]:
    """Return a decision about two identifiers as REST shows it."""
    return {
        "identities": [encode(number) for number in item.identities],
        "types": item.types,
        "accepted": item.accepted,
        "reason": item.reason,
        "why": item.why,
        "holds": item.holds,
        "origin": item.origin,
        "evidence": item.event_id.hex(),
        "source": item.source,
        "occurred_at": None if item.occurred_at is None else rfc3339(item.occurred_at),
        "decided_at": rfc3339(item.decided_at),
        "rules_version": item.rules_version,
    }


def link_position(item: Link, encode: Encode) -> tuple[int | str, ...]:
    """Return where a link stands in its list, as a cursor holds it."""
    return (item.decided_at, item.batch, *map(encode, item.identities))


def link_place(ids: ProfileIds, cursor: str | None) -> tuple[int, int, int, int] | None:
    """Return the place in a cursor of a list of links."""
    at = decode_cursor("links", cursor, int, int, str, str)
    return None if at is None else (at[0], at[1], ids.decode(at[2]), ids.decode(at[3]))


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


HANDLERS = [
    lookup,
    read_profile,
    events,
    identifiers,
    links,
    consents,
    uses,
    why,
    reveal,
]
