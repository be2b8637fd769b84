"""What could not become an event: by kind, with its cause, never with its content."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import get, post
from litestar.params import FromQuery, JSONBody

from cdp.api.auth import allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, checked_limit, decode_cursor, page_of
from cdp.clock import rfc3339
from cdp.ingest import QuarantineItem
from cdp.told import API_SOURCE

_STEWARD = allow("steward")


class ReplayBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which messages to send through again; all when no kind is named."""

    kind: str = ""


@get("/quarantine", opt=allow("steward", query="quarantine.list"), sync_to_thread=True)
def list_quarantined(
    services: InjectedServices,
    kind: FromQuery[str] = "",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List what is in quarantine, oldest first."""
    at = decode_cursor("quarantine", cursor, int)
    found = services.quarantine.items(checked_limit(limit) + 1, 0 if at is None else at[0], kind)
    page = page_of(found, limit, "quarantine", lambda item: (item.quarantine_id,))
    return Page([_item(item) for item in page.items], page.next)


@post("/quarantine/replay", opt=_STEWARD, sync_to_thread=True, status_code=200)
def replay(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[ReplayBody | None] = None
) -> dict[str, int]:
    """Send quarantined messages through the pipeline again; what fails again stays."""
    sources = {source.source_id: source for source in (API_SOURCE, *services.access.list_sources())}
    outcome = services.pipeline.replay(caller.actor, sources, "" if data is None else data.kind)
    return {
        "received": outcome.received,
        "stored": outcome.stored,
        "duplicates": outcome.duplicates,
        "quarantined": outcome.quarantined,
        "refused": outcome.refused,
    }


def _item(item: QuarantineItem) -> dict[str, Any]:
    return {
        "id": str(item.quarantine_id),
        "source": str(item.source_id),
        "kind": item.kind,
        "reason": item.reason,
        "cause": item.cause,
        "received_at": rfc3339(item.received_at),
    }


HANDLERS = [list_quarantined, replay]
