"""What could not become an event: by kind and reason, with its cause and its shape, never with a value."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from cdp.api.auth import allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, checked_limit, decode_cursor, page_of
from cdp.api.services import Services
from cdp.audit import Entry
from cdp.clock import Micros, parse_rfc3339, rfc3339
from cdp.errors import InvalidInputError, NotFoundError
from cdp.ingest import QuarantineItem, Replay, Wanted
from cdp.told import API_SOURCE

_MOST = 10_000
_PAGE = 1_000
_NUMBER = re.compile(r"[0-9]{1,19}")
_INT64 = 1 << 63
From: TypeAlias = Annotated[str | None, QueryParameter(name="from")]


class Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which messages are meant: all to which everything that is said applies.

    :param source: by name.
    :param from_: RFC 3339, received at or after; ``to``: before.
    :param ids: only these.
    """

    kind: str = ""
    reason: str = ""
    source: str = ""
    from_: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    ids: tuple[str, ...] | None = None


class ReplayBody(Chosen, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which messages to send through again; all when nothing is said.

    :param dry_run: only say what would become of them; nothing is stored.
    :param limit: look at so many in this call, at most 10,000.
    :param after: the ``next`` of the call before.
    """

    dry_run: bool = False
    limit: int = _MOST
    after: str | None = None


@get("/quarantine", opt=allow("steward", query="quarantine.list"), sync_to_thread=True)
def list_quarantined(
    services: InjectedServices,
    kind: FromQuery[str] = "",
    reason: FromQuery[str] = "",
    source: FromQuery[str] = "",
    from_: From = None,
    to: FromQuery[str | None] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List what is in quarantine, oldest first."""
    at = decode_cursor("quarantine", cursor, int)
    wanted = _wanted(services, Chosen(kind=kind, reason=reason, source=source, from_=from_, to=to))
    found = services.quarantine.items(checked_limit(limit) + 1, 0 if at is None else at[0], wanted)
    page = page_of(found, limit, "quarantine", lambda item: (item.quarantine_id,))
    names = _names(services)
    return Page([_item(item, names) for item in page.items], page.next)


@get("/quarantine/counts", opt=allow("steward"), sync_to_thread=True)
def count_quarantined(
    services: InjectedServices,
    kind: FromQuery[str] = "",
    reason: FromQuery[str] = "",
    source: FromQuery[str] = "",
    from_: From = None,
    to: FromQuery[str | None] = None,
) -> dict[str, list[dict[str, Any]]]:
    """Count what is in quarantine, by kind, reason and source; the most first."""
    wanted = _wanted(services, Chosen(kind=kind, reason=reason, source=source, from_=from_, to=to))
    names = _names(services)
    return {
        "items": [
            {
                "kind": one.kind,
                "reason": one.reason,
                "source": names.get(one.source_id),
                "messages": one.messages,
                "oldest": rfc3339(one.oldest),
            }
            for one in services.quarantine.waiting(wanted)
        ]
    }


@get("/quarantine/{quarantine_id:str}", opt=allow("steward", query="quarantine.show"), sync_to_thread=True)
def show_quarantined(services: InjectedServices, quarantine_id: FromPath[str]) -> dict[str, Any]:
    """Show why one message failed, and its shape: places, types and sizes, no value."""
    (number,) = _numbers((quarantine_id,))
    item, places = services.quarantine.shape(number)
    shape = [{"place": place, "type": kind, "size": size} for place, kind, size in places]
    return {**_item(item, _names(services)), "shape": shape}


@post("/quarantine/replay", opt=allow("steward"), sync_to_thread=True, status_code=200)
def replay(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[ReplayBody | None] = None
) -> dict[str, Any]:
    """Send quarantined messages through the pipeline again; what fails again stays, with its new cause."""
    given = data or ReplayBody()
    if not 1 <= given.limit <= _MOST:
        raise InvalidInputError(f"limit is from 1 to {_MOST}")
    (after,) = _numbers((given.after or "0",))
    sources = {source.source_id: source for source in (API_SOURCE, *services.access.list_sources())}
    done = services.pipeline.replay(
        Replay(caller.actor, given.dry_run),
        sources,
        _wanted(services, given),
        after=after,
        most=given.limit,
    )
    return {
        "received": done.outcome.received,
        **done.outcome.counts,
        "reasons": dict(sorted(done.outcome.failed.items())),
        "unreadable": done.unreadable,
        "next": None if done.next is None else str(done.next),
    }


@post("/quarantine/discard", opt=allow("steward"), sync_to_thread=True, status_code=200)
def discard(services: InjectedServices, caller: InjectedCaller, data: JSONBody[Chosen]) -> dict[str, int]:
    """Delete quarantined messages for good; at least one condition says which."""
    if data == Chosen():
        raise InvalidInputError("name a kind, a reason, a source, a time or ids: all of it is never meant")
    wanted = _wanted(services, data)
    discarded = 0
    while True:
        with services.committer.batch() as batch:
            gone = services.quarantine.discard(batch, wanted, _PAGE)
            batch.record(Entry(action="quarantine.discard", actor=caller.actor, counts={"discarded": gone}))
        discarded += gone
        if gone < _PAGE:
            return {"discarded": discarded}


def _wanted(services: Services, chosen: Chosen) -> Wanted:
    source_id = None
    if chosen.source:
        ids = {name: number for number, name in _names(services).items()}
        if chosen.source not in ids:
            raise NotFoundError("there is no source of this name")
        source_id = ids[chosen.source]
    return Wanted(
        kind=chosen.kind,
        reason=chosen.reason,
        source_id=source_id,
        since=_instant(chosen.from_),
        until=_instant(chosen.to),
        ids=None if chosen.ids is None else _numbers(chosen.ids),
    )


def _names(services: Services) -> dict[int, str]:
    return {one.source_id: one.name for one in (API_SOURCE, *services.access.list_sources())}


def _numbers(given: tuple[str, ...]) -> tuple[int, ...]:
    if not all(_NUMBER.fullmatch(text) and int(text) < _INT64 for text in given):
        raise InvalidInputError("an id is a number, as the list gives it")
    return tuple(map(int, given))


def _instant(text: str | None) -> Micros | None:
    try:
        return None if text is None else parse_rfc3339(text)
    except ValueError:
        raise InvalidInputError("from and to are RFC 3339 times") from None


def _item(item: QuarantineItem, names: dict[int, str]) -> dict[str, Any]:
    return {
        "id": str(item.quarantine_id),
        "source": names.get(item.source_id),
        "kind": item.kind,
        "reason": item.reason,
        "cause": item.cause,
        "received_at": rfc3339(item.received_at),
    }


HANDLERS = [list_quarantined, count_quarantined, show_quarantined, replay, discard]
