"""Exploring segments: history, overlaps, funnels, retention, portraits; counts as the role allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody

from cdp.api.auth import Caller, allow
from cdp.api.counts import check_countable, showing
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, checked_limit, decode_cursor, page_of
from cdp.api.services import Services
from cdp.clock import rfc3339
from cdp.errors import DefinitionError, NotPermittedError
from cdp.segments import Version

_EXPLORE = allow("marketer", "officer")
MOST_TRAITS = 10
"""Of a portrait with noise: each costs up to five answers."""


class OverlapBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Between which segments.

    :param segments: names of 2 to 20 segments.
    """

    segments: tuple[str, ...]


@get("/segments/{name:str}/history", opt=_EXPLORE, sync_to_thread=True)
def history(
    services: InjectedServices, name: FromPath[str], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[dict[str, Any]]:
    """List the versions of a segment, the newest first: who made each, when, and what it changed."""
    return _versions(services.segments.explore.history(name), limit, cursor)


@get("/tags/{name:str}/history", opt=_EXPLORE, sync_to_thread=True)
def tag_history(
    services: InjectedServices, name: FromPath[str], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[dict[str, Any]]:
    """List the versions of a tag, the newest first: who made each, when, and what it changed."""
    return _versions(services.segments.tags.history(name), limit, cursor)


@post("/segments/overlap", opt=_EXPLORE, sync_to_thread=True, status_code=200)
def overlap(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[OverlapBody]
) -> dict[str, Any]:
    """Count whom each two of some segments share; 0, except to officers, is fewer than 10."""
    for name in data.segments[:100]:
        _check(services, caller, name)
    found = services.segments.explore.overlap(data.segments, actor=caller.actor)
    with showing(services, caller, {"of": "overlap", "as_of": found.as_of}) as show:
        return {**found.shown(show), "exact": caller.has("officer")}


@post("/segments/funnel", opt=_EXPLORE, sync_to_thread=True, status_code=200)
def funnel(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[dict[str, Any]]
) -> dict[str, Any]:
    """Count how many people get how far in a sequence, of everybody or of a segment (`among`)."""
    question = services.segments.explore.read_funnel(data)
    check_countable(services, caller, question.whole)
    found = services.segments.explore.funnel(question, actor=caller.actor)
    with showing(services, caller, {"of": "funnel", "as_of": found.as_of}) as show:
        return {**found.shown(show), "exact": caller.has("officer")}


@post("/segments/retention", opt=_EXPLORE, sync_to_thread=True, status_code=200)
def retention(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[dict[str, Any]]
) -> dict[str, Any]:
    """Count by the period in which people began how many came back in each period since."""
    question = services.segments.explore.read_retention(data)
    check_countable(services, caller, question.whole)
    found = services.segments.explore.retention(question, actor=caller.actor)
    with showing(services, caller, {"of": "retention", "as_of": found.as_of}) as show:
        return {**found.shown(show), "exact": caller.has("officer")}


@get("/segments/{name:str}/portrait", opt=_EXPLORE, sync_to_thread=True)
def portrait(
    services: InjectedServices,
    caller: InjectedCaller,
    name: FromPath[str],
    traits: FromQuery[str | None] = None,
    tags: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """Tell what the people of a segment are like against everyone: by traits that name nobody, and by tags.

    All that are clear, or those named (`traits=country,plan`, `tags=lifecycle`): with noise up to 10.
    """
    wanted, by_tags = (
        None if given is None else [one for one in given.split(",") if one] for given in (traits, tags)
    )
    officer = caller.has("officer")
    if not officer and not 1 <= len(wanted or ()) + len(by_tags or ()) <= MOST_TRAITS:
        raise NotPermittedError(
            f"with noise a portrait is of 1 to {MOST_TRAITS} traits and tags that are named "
            "(traits=country,plan, tags=lifecycle)"
        )
    _check(services, caller, name)
    found = services.segments.explore.portrait(name, wanted, by_tags, actor=caller.actor)
    target: dict[str, str | int] = {"of": "portrait", "segment": name, "version": found.version}
    with showing(services, caller, {**target, "as_of": found.as_of}) as show:
        return {**found.shown(show, exact=officer), "exact": officer}


def _check(services: Services, caller: Caller, name: str) -> None:
    """Refuse the counts of a segment that would be a look-up to all but officers.

    :raises NotFoundError: there is no such segment.
    :raises DefinitionError: it no longer holds.
    """
    held = services.segments.get(name)
    if held.definition is None:
        raise DefinitionError(held.problem)
    check_countable(services, caller, held.definition)


def _versions(history: Sequence[Version], limit: int, cursor: str | None) -> Page[dict[str, Any]]:
    after = decode_cursor("history", cursor, int)
    found = [one for one in history if after is None or one.version < after[0]]
    page = page_of(found[: checked_limit(limit) + 1], limit, "history", lambda one: (one.version,))
    return Page([_version(one) for one in page.items], page.next)


def _version(one: Version) -> dict[str, Any]:
    changes = []
    for change in one.changes:
        sides = {"from": change.before} if change.kind != "added" else {}
        if change.kind != "removed":
            sides["to"] = change.after
        changes.append({"place": change.place, "change": change.kind, **sides})
    return {
        "version": one.version,
        "created_at": rfc3339(one.created_at),
        "created_by": one.created_by,
        "deleted": one.deleted,
        "changes": changes,
    }


HANDLERS = [history, tag_history, overlap, funnel, retention, portrait]
