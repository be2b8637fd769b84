"""Segments and lists: define, preview, show. Counts are as exact as the role allows."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import delete, get, post, put
from litestar.params import FromPath, JSONBody

from cdp.api.auth import Caller, allow
from cdp.api.counts import check_countable, is_countable, shown_count
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, page_by_key
from cdp.api.rest.identifiers import IdentifierBody
from cdp.api.services import Services
from cdp.clock import rfc3339
from cdp.errors import InvalidInputError
from cdp.export import segment_id
from cdp.identity import AMBIGUOUS
from cdp.segments import ListKind, Segment

_DEFINE = allow("marketer", "officer")


class ListBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who stands on a list.

    :param category: the data category that standing on it tells about a person.
    """

    kind: ListKind
    members: tuple[IdentifierBody, ...]
    category: str | None = None


@get("/segments", opt=_DEFINE, sync_to_thread=True)
def list_segments(
    services: InjectedServices, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[dict[str, Any]]:
    """List the segments by name."""
    items = [segment(services, held) for held in services.segments.list()]
    return page_by_key(items, limit, cursor, "segments", lambda item: str(item["name"]))


@get("/segments/{name:str}", opt=_DEFINE, sync_to_thread=True)
def read_segment(services: InjectedServices, caller: InjectedCaller, name: FromPath[str]) -> dict[str, Any]:
    """Show a segment with its definition and how many it had when it was last evaluated."""
    return counted(services, caller, services.segments.get(name))


@get("/schemas/segment", opt=_DEFINE, sync_to_thread=False)
def read_schema(services: InjectedServices) -> dict[str, Any]:
    """Return the JSON Schema of a definition, with the fields that are declared now, for editors."""
    return services.segments.schema()


@get("/segments/{name:str}/sql", opt=_DEFINE, sync_to_thread=True)
def read_sql(services: InjectedServices, caller: InjectedCaller, name: FromPath[str]) -> dict[str, str]:
    """Show the SQL that finds a segment's members, pass by pass; to officers, where scores stand in it."""
    return {"name": name, "sql": services.segments.sql(name, exact=caller.has("officer"))}


@put("/segments/{name:str}", opt=_DEFINE, sync_to_thread=True)
def apply(
    services: InjectedServices,
    caller: InjectedCaller,
    name: FromPath[str],
    data: JSONBody[dict[str, Any]],
) -> dict[str, Any]:
    """Store a definition as the segment's newest version, and evaluate it."""
    return counted(services, caller, apply_segment(services, caller, name, data))


@delete("/segments/{name:str}", opt=_DEFINE, sync_to_thread=True)
def remove(services: InjectedServices, caller: InjectedCaller, name: FromPath[str]) -> None:
    """Delete a segment; its versions stay on record."""
    services.segments.delete(caller.actor, name)


@post("/segments/preview", opt=_DEFINE, sync_to_thread=True, status_code=200)
def preview(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[dict[str, Any]]
) -> dict[str, int]:
    """Count whom a definition finds, without storing it; 0, except to officers, is fewer than 10."""
    return previewed(services, caller, data)


@put("/lists/{name:str}", opt=allow("steward"), sync_to_thread=True)
def put_list(
    services: InjectedServices, caller: InjectedCaller, name: FromPath[str], data: JSONBody[ListBody]
) -> dict[str, Any]:
    """Make a list hold exactly the people who have these identifiers, now or once they are known.

    Known ones are counted, which looks people up: the audit log has it as a use for segmentation. `unknown`
    are those that nobody here has: they are kept as keyed digests, and whoever arrives with one is on it.
    A telephone number without a country code is on a black list once for each country that it may be of.
    """
    with services.store.reading() as connection:
        given = services.identity.indexes_of(connection, [(item.type, item.value) for item in data.members])
    if data.kind != "black" and any(len(meant) > 1 for meant in given):
        raise InvalidInputError(AMBIGUOUS)
    indexes = {indexes for meant in given for indexes in meant}
    told = {} if data.category is None else {"category": data.category}
    held = services.segments.lists.put(caller.actor, name, data.kind, indexes, **told)
    return {
        "name": held.name,
        "kind": held.kind,
        "category": held.category,
        "members": held.entries,
        "unknown": len(indexes) - held.entries + given.count([]),
    }


def apply_segment(services: Services, caller: Caller, name: str, definition: dict[str, Any]) -> Segment:
    """Store a definition under ``name``.

    :raises InvalidInputError: the definition itself says another name.
    """
    if definition.get("name", name) != name:
        raise InvalidInputError("the definition has another name than the one it is stored under")
    return services.segments.apply(caller.actor, definition, name)


def previewed(services: Services, caller: Caller, definition: dict[str, Any]) -> dict[str, int]:
    """Return a preview as this caller may see it."""
    parsed = services.segments.parse(definition, "")
    check_countable(services, caller, parsed)
    found = services.segments.preview(definition, actor=caller.actor)
    count = found.count  # which an officer sees, and is on record already
    if not caller.has("officer"):
        count = shown_count(services, caller, parsed, found.members, {"as_of": found.as_of})
    return {"count": count, "as_of": found.as_of, "took_ms": found.took_ms}


def segment(services: Services, held: Segment) -> dict[str, Any]:
    """Return a segment as REST shows it; destinations know it by ``id``."""
    return {
        "id": segment_id(services.keyring, held.name),
        "name": held.name,
        "version": held.version,
        "description": held.source.get("description"),
        "definition": held.source,
        "problem": held.problem or None,
        "created_at": rfc3339(held.created_at),
        "created_by": held.created_by,
    }


def counted(services: Services, caller: Caller, held: Segment) -> dict[str, Any]:
    """Return a segment with its count, where it still holds and the caller may have one.

    None stands for no count, and 0, except to officers, for fewer than 10.
    """
    shown = segment(services, held)
    if held.definition is None or not is_countable(services, caller, held.definition):
        return {**shown, "count": None, "as_of": None}
    members = services.segments.members(held.name, actor=caller.actor)
    target: dict[str, str | int] = {"segment": members.name, "version": members.version}
    target["as_of"] = members.as_of
    count = shown_count(services, caller, members.definition, members.bitmap, target)
    return {**shown, "count": count, "as_of": members.as_of}


HANDLERS = [list_segments, preview, read_segment, read_sql, read_schema, apply, remove, put_list]
