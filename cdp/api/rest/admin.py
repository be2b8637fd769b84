"""The admin's routes: sources, API keys, rebuilding what is derived.

A write key or API key is shown once, when it is made.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import delete, get, patch, post, put
from litestar.params import FromPath, JSONBody

from cdp.access import Limits, Principal, Role, Source, SourceKind
from cdp.api.auth import allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, page_by_key
from cdp.clock import parse_rfc3339, rfc3339
from cdp.errors import InvalidInputError


class SourceBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A source to make.

    :param links: whether it may have manage links made, each of which shows one person's choices.
    :param default_region: ISO 3166 code of the country of telephone numbers without a country code.
    """

    name: str
    kind: SourceKind = "server"
    links: bool = False
    default_region: str | None = None
    events_per_second: int | None = None
    burst: int | None = None
    max_body_kib: int | None = None
    max_event_kib: int | None = None


class LimitsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """How much a source may send: what is left out stays, null takes a limit away (``docs/overload.md``)."""

    events_per_second: int | msgspec.UnsetType | None = msgspec.UNSET
    burst: int | msgspec.UnsetType | None = msgspec.UNSET
    max_body_kib: int | msgspec.UnsetType | None = msgspec.UNSET
    max_event_kib: int | msgspec.UnsetType | None = msgspec.UNSET


class LinksBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether a source may have manage links made."""

    links: bool


class KeyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An API key to make.

    :param expires_at: RFC 3339; without it the key lives until it is revoked.
    """

    name: str
    roles: tuple[Role, ...]
    purposes: tuple[str, ...] = ()
    destination: str = ""
    expires_at: str | None = None


@get("/sources", opt=allow("admin", query="source.list"), sync_to_thread=True)
def list_sources(
    services: InjectedServices, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[dict[str, Any]]:
    """List the sources by name."""
    items = [_source(source) for source in services.access.list_sources()]
    return page_by_key(items, limit, cursor, "sources", lambda item: str(item["name"]))


@post("/sources", opt=allow("admin"), sync_to_thread=True)
def create_source(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[SourceBody]
) -> dict[str, Any]:
    """Make a source; the answer holds its write key, this once. Nobody can grant what they lack."""
    if data.links:
        caller.state("rights")
    limits = Limits(**{name: getattr(data, name) for name in Limits.__struct_fields__})
    source, write_key = services.access.create_source(
        caller.actor, data.name, data.kind, links=data.links, region=data.default_region, limits=limits
    )
    return {**_source(source), "write_key": write_key}


@patch("/sources/{name:str}", opt=allow("admin"), sync_to_thread=True)
def change_source(
    services: InjectedServices, caller: InjectedCaller, name: FromPath[str], data: JSONBody[LimitsBody]
) -> dict[str, Any]:
    """Say how much the source may send. What is left out stays as it is, null takes a limit away."""
    given = {
        name: value
        for name, value in msgspec.structs.asdict(data).items()
        if not isinstance(value, msgspec.UnsetType)
    }
    changed = services.access.change_limits(
        caller.actor, name, lambda before: msgspec.structs.replace(before, **given)
    )
    return _source(changed)


@post("/sources/{name:str}/disable", opt=allow("admin"), sync_to_thread=True, status_code=204)
def disable_source(services: InjectedServices, caller: InjectedCaller, name: FromPath[str]) -> None:
    """Refuse what the source sends from now on."""
    services.access.disable_source(caller.actor, name)


@post("/sources/{name:str}/rotate", opt=allow("admin"), sync_to_thread=True, status_code=200)
def rotate_source(services: InjectedServices, caller: InjectedCaller, name: FromPath[str]) -> dict[str, Any]:
    """Give the source a new write key, shown this once; the old one stops. Nobody gets what they lack."""
    links = caller.principal.may_state("rights")
    return {"name": name, "write_key": services.access.rotate_source(caller.actor, name, links=links)}


@post("/sources/{name:str}/secret", opt=allow("admin"), sync_to_thread=True, status_code=200)
def source_secret(services: InjectedServices, caller: InjectedCaller, name: FromPath[str]) -> dict[str, Any]:
    """Have a browser source sign user ids: a new secret, shown this once; the one before stops counting."""
    source = services.access.sign_source(caller.actor, name)
    secret = services.signatures.secret(source.source_id, source.secret_version or 0)
    return {"name": source.name, "secret": secret, "version": source.secret_version}


@put("/sources/{name:str}/links", opt=allow("admin"), sync_to_thread=True)
def source_links(
    services: InjectedServices, caller: InjectedCaller, name: FromPath[str], data: JSONBody[LinksBody]
) -> dict[str, Any]:
    """Let a server source have manage links made, or no longer. Nobody can grant what they lack."""
    if data.links:
        caller.state("rights")
    return _source(services.access.change_links(caller.actor, name, links=data.links))


@get("/keys", opt=allow("admin", query="key.list"), sync_to_thread=True)
def list_keys(
    services: InjectedServices, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[dict[str, Any]]:
    """List the live API keys by name; never the keys themselves."""
    items = [_key(key) for key in services.access.list_keys()]
    return page_by_key(items, limit, cursor, "keys", lambda item: str(item["name"]))


@get("/key", opt=allow("marketer", "destination", "steward", "officer", "admin"), sync_to_thread=False)
def read_key(caller: InjectedCaller) -> dict[str, Any]:
    """Show who calls: the roles, purposes and destination of the key that asks."""
    return _key(caller.principal)


@post("/keys", opt=allow("admin"), sync_to_thread=True)
def create_key(services: InjectedServices, caller: InjectedCaller, data: JSONBody[KeyBody]) -> dict[str, Any]:
    """Make an API key, shown this once; nobody can grant what they lack, and none that could never work."""
    try:
        expires_at = None if data.expires_at is None else parse_rfc3339(data.expires_at)
    except ValueError:
        raise InvalidInputError("expires_at is not an RFC 3339 time") from None
    key, text = services.access.create_key(
        caller.principal,
        data.name,
        data.roles,
        purposes=data.purposes,
        destination=data.destination,
        expires_at=expires_at,
    )
    return {**_key(key), "key": text}


@delete("/keys/{name:str}", opt=allow("admin"), sync_to_thread=True)
def revoke_key(services: InjectedServices, caller: InjectedCaller, name: FromPath[str]) -> None:
    """Revoke an API key; it stops working with the commit."""
    services.access.revoke_key(caller.actor, name)


@post("/rebuild", opt=allow("admin"), sync_to_thread=True, status_code=200)
def rebuild(services: InjectedServices, caller: InjectedCaller) -> dict[str, int]:
    """Make everything derived anew: consent states, warehouse, the audit log's index, segments' members."""
    started = services.clock.now()
    profiles = services.deriving.rebuild(caller.actor)
    reached = services.mirror.rebuild()
    services.audit.rebuild_index(services.committer)
    held = [segment for segment in services.segments.list() if segment.definition is not None]
    services.segments.refresh([segment.name for segment in held], actor=caller.actor)
    took = (services.clock.now() - started) // 1000
    return {"profiles": profiles, "commit_no": reached, "segments": len(held), "took_ms": took}


def _source(source: Source) -> dict[str, Any]:
    return {
        "id": str(source.source_id),
        "name": source.name,
        "kind": source.kind,
        "enabled": source.enabled,
        "signs_user_ids": source.secret_version is not None,
        "links": source.links,
        "default_region": source.default_region,
        **msgspec.structs.asdict(source.limits),
    }


def _key(key: Principal) -> dict[str, Any]:
    return {
        "id": str(key.key_id),
        "name": key.name,
        "roles": sorted(key.roles),
        "purposes": sorted(key.purposes),
        "destination": key.destination or None,
        "expires_at": None if key.expires_at is None else rfc3339(key.expires_at),
    }


HANDLERS = [
    list_sources,
    create_source,
    change_source,
    disable_source,
    rotate_source,
    source_secret,
    source_links,
    list_keys,
    read_key,
    create_key,
    revoke_key,
    rebuild,
]
