"""Exports: ask the gate, see what it decided, fetch what it released.

Invariant: a destination's key never sees the name of a segment, which can tell why somebody is in it;
it sees the segment's opaque id (``shown``), also when it filters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody
from litestar.response import Stream

from cdp.api.auth import Caller, allow
from cdp.api.counts import billed, check_countable
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, checked_limit, decode_cursor, page_of
from cdp.api.services import Services
from cdp.clock import rfc3339
from cdp.export import Export, named_segment, segment_id

_SEE = allow("marketer", "destination", "officer")


class ExportBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An export to ask for.

    :param segment: its name; for a destination's key its id.
    :param purpose: may stand in the header ``CDP-Purpose`` instead.
    :param fields: traits or identifier types; without it, those that the rules name.
    """

    segment: str
    destination: str
    purpose: str = ""
    fields: tuple[str, ...] | None = None
    format: str = "jsonl"
    mode: Literal["full", "delta"] = "full"
    dry_run: bool = False


@post("/exports", opt=_SEE, sync_to_thread=True)
def request(services: InjectedServices, caller: InjectedCaller, data: JSONBody[ExportBody]) -> dict[str, Any]:
    """Have the gate decide an export; the answer says who was withheld and why."""
    return export(requested(services, caller, data))


@get("/exports", opt=allow("marketer", "destination", "officer", query="export.list"), sync_to_thread=True)
def list_exports(
    services: InjectedServices,
    caller: InjectedCaller,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List the exports that this key may know of, newest first."""
    page = export_page(services, caller, limit, cursor)
    return Page([export(found) for found in page.items], page.next)


@get(
    "/exports/{export_id:str}",
    opt=allow("marketer", "destination", "officer", query="export.read"),
    sync_to_thread=True,
)
def read_export(
    services: InjectedServices, caller: InjectedCaller, export_id: FromPath[str]
) -> dict[str, Any]:
    """Show what was asked, released and withheld."""
    return export(found_export(services, caller, export_id))


@get("/exports/{export_id:str}/data", opt=allow("destination"), sync_to_thread=True)
def data(services: InjectedServices, caller: InjectedCaller, export_id: FromPath[str]) -> Stream:
    """Fetch the release; it is rendered while it streams, for those who are permitted now."""
    # First, as the gate records what it refuses; a bare look-up would answer before it.
    media_type, pieces = services.exports.data(caller.principal, export_id)
    found = found_export(services, caller, export_id)
    disposition = f'attachment; filename="{found.segment}.{found.format}"'
    headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
    return Stream(pieces, media_type=media_type, headers=headers)


def requested(services: Services, caller: Caller, data: ExportBody) -> Export:
    """Ask the gate for an export.

    :raises InvalidInputError: no purpose is stated.
    :raises NotPermittedError: its counts would be a look-up (``check_countable``), or the gate refuses it.
    :raises OverloadedError: the key has used up its counts for today.
    """
    principal = caller.principal
    segment = named_segment(services.keyring, services.segments, data.segment, principal)

    def ask() -> Export:
        return services.exports.request(
            principal,
            segment=segment,
            destination=data.destination,
            purpose=data.purpose or caller.purpose,
            fields=data.fields,
            format=data.format,
            mode=data.mode,
            dry_run=data.dry_run,
        )

    if principal.sees_exactly:
        return shown(services, caller, ask())
    definition = services.segments.get(segment).definition
    if definition is not None:  # one that no longer holds is refused when it is evaluated
        check_countable(services, caller, definition)
    with billed(services, caller) as bill:
        given = ask()
        bill.settle(2 + len(given.withheld))
    return given


def found_export(services: Services, caller: Caller, export_id: str) -> Export:
    """Return one export as this key may know it.

    :raises NotFoundError: there is none, or the key may not know of it.
    """
    return shown(services, caller, services.exports.get(caller.principal, export_id))


def shown(services: Services, caller: Caller, found: Export) -> Export:
    """Return an export as this key may know it: for a destination the segment has an id, no name."""
    if not caller.principal.is_recipient:
        return found
    return msgspec.structs.replace(found, segment=segment_id(services.keyring, found.segment))


def export_page(
    services: Services,
    caller: Caller,
    limit: int,
    cursor: str | None,
    wanted: Mapping[str, str] | None = None,
) -> Page[Export]:
    """Return a page of exports.

    :param wanted: attribute → the value it must have.
    """
    at = decode_cursor("exports", cursor, int, str)
    before = None if at is None else (at[0], at[1])
    found: list[Export] = []
    size = checked_limit(limit) + 1
    while len(found) < size:
        more = services.exports.list(caller.principal, limit=size, before=before)
        known = (shown(services, caller, item) for item in more)
        found += [item for item in known if _fits(item, wanted or {})]
        if len(more) < size:
            break
        before = export_position(more[-1])
    return page_of(found, limit, "exports", export_position)


def _fits(found: Export, wanted: Mapping[str, str]) -> bool:
    return all(getattr(found, name) == value for name, value in wanted.items())


def export_position(found: Export) -> tuple[int, str]:
    """Return where an export stands in the list."""
    return found.created_at, found.id or ""


def export(found: Export) -> dict[str, Any]:
    """Return an export as REST shows it."""
    return {
        "id": found.id,
        "status": found.status,
        "segment": found.segment,
        "segment_version": found.segment_version,
        "destination": found.destination,
        "purpose": found.purpose,
        "format": found.format,
        "mode": found.mode,
        "created_at": rfc3339(found.created_at),
        "as_of": found.as_of,
        "members": found.members,
        "released": found.released,
        "withheld": found.withheld,
        "exact": found.exact,
        "fields": found.fields,
        "bundle": found.bundle,
        "audit_index": found.audit_index,
        "manifest_root": found.manifest_root,
        "reason": found.reason or None,
    }


HANDLERS = [request, list_exports, read_export, data]
