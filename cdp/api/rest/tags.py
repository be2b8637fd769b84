"""Computed tags: define, rebuild, show. What a tag says of anybody is in portraits and segments only.

Thresholds that are found are exact numbers of what some people did, and that there are enough people is an
exact count: so only officers have them found, and all others see them to two digits.
"""

from __future__ import annotations

from typing import Any

from litestar import delete, get, post, put
from litestar.params import FromPath, JSONBody

from cdp.api.auth import Caller, allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, page_by_key
from cdp.clock import rfc3339
from cdp.errors import InvalidInputError, NotPermittedError
from cdp.segments import Tag

_DEFINE = allow("marketer", "officer")


@get("/tags", opt=_DEFINE, sync_to_thread=True)
def list_tags(
    services: InjectedServices, caller: InjectedCaller, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[dict[str, Any]]:
    """List the computed tags by name."""
    items = [tag(caller, held) for held in services.segments.tags.all()]
    return page_by_key(items, limit, cursor, "tags", lambda item: str(item["name"]))


@get("/tags/{name:str}", opt=_DEFINE, sync_to_thread=True)
def read_tag(services: InjectedServices, caller: InjectedCaller, name: FromPath[str]) -> dict[str, Any]:
    """Show a tag with its definition, the category of what it tells and the thresholds that hold."""
    return tag(caller, services.segments.tags.get(name))


@get("/schemas/tag", opt=_DEFINE, sync_to_thread=False)
def read_tag_schema(services: InjectedServices) -> dict[str, Any]:
    """Return the JSON Schema of a tag, with the fields that are declared now, for editors."""
    return services.segments.tag_schema()


@put("/tags/{name:str}", opt=_DEFINE, sync_to_thread=True)
def apply_tag(
    services: InjectedServices,
    caller: InjectedCaller,
    name: FromPath[str],
    data: JSONBody[dict[str, Any]],
) -> dict[str, Any]:
    """Store a definition as the tag's newest version; a score finds its thresholds, for officers."""
    if data.get("name", name) != name:
        raise InvalidInputError("the definition has another name than the one it is stored under")
    if "into" in data and not caller.has("officer"):
        raise NotPermittedError(
            "the thresholds of a score are found in what everybody did, which is for officers; "
            "give thresholds instead of into"
        )
    return tag(caller, services.segments.tags.apply(caller.actor, data, name))


@post("/tags/{name:str}/rebuild", opt=allow("officer"), sync_to_thread=True, status_code=200)
def rebuild_tag(services: InjectedServices, caller: InjectedCaller, name: FromPath[str]) -> dict[str, Any]:
    """Find the thresholds of a score anew in what everybody amounts to now."""
    return tag(caller, services.segments.tags.rebuild(caller.actor, name))


@delete("/tags/{name:str}", opt=_DEFINE, sync_to_thread=True)
def remove_tag(services: InjectedServices, caller: InjectedCaller, name: FromPath[str]) -> None:
    """Delete a tag that no segment or other tag uses; its versions stay on record."""
    services.segments.tags.delete(caller.actor, name)


def tag(caller: Caller, held: Tag) -> dict[str, Any]:
    """Return a tag as this caller may see it."""
    found, exact = held.thresholds, caller.has("officer")
    return {
        "name": held.name,
        "version": held.version,
        "description": held.source.get("description"),
        "kind": held.source.get("kind"),
        "category": held.category,
        "definition": held.source,
        "problem": held.problem or None,
        "thresholds": None
        if found is None
        else {
            "values": [value if exact else float(f"{value:.1e}") for value in found.values],
            "people": found.people if exact else None,
            "as_of": found.as_of,
            "computed_at": rfc3339(found.computed_at),
        },
        "created_at": rfc3339(held.created_at),
        "created_by": held.created_by,
    }


HANDLERS = [list_tags, read_tag, read_tag_schema, apply_tag, rebuild_tag, remove_tag]
