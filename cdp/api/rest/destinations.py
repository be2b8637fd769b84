"""What a destination is told after it received data: recalls, where to send them, changes.

A destination's key sees and acknowledges its own; officers see how many wait and how many are late, nobody's
reference. Recalling everything is an officer's decision, beside the switch that only stops what would leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from litestar import delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from cdp.api.auth import Caller, allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, checked_limit, decode_cursor, encode_cursor, page_of
from cdp.api.services import Services
from cdp.clock import rfc3339
from cdp.errors import NotFoundError
from cdp.export import Cursor as FeedCursor
from cdp.export import MessageCount, Shown

_OWN = allow("destination", "officer", "admin")
Ids = Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=1000)]


class WebhookBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a destination wants to be told."""

    url: str


class AcknowledgementBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Messages (``webhook-id``) of which all that they say is done."""

    ids: Ids


@get("/destinations/{destination:str}/recalls", opt=allow("destination", "officer"), sync_to_thread=True)
def recalls(
    services: InjectedServices,
    caller: InjectedCaller,
    destination: FromPath[str],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> dict[str, Any] | Page[dict[str, Any]]:
    """Show an officer how many recalls wait and are late, and a destination what they say."""
    _check(services, caller, destination)
    if caller.has("officer"):
        return _counts(services.outbox.counts(destination))
    after = decode_cursor("recalls", cursor, str)
    found = services.outbox.waiting(
        caller.principal, after="" if after is None else after[0], limit=checked_limit(limit) + 1
    )
    page = page_of(found, limit, "recalls", lambda one: (one.id,))
    items = [
        {"id": one.id, "state": one.state, "late": one.late, **msgspec.json.decode(one.body)}
        for one in page.items
    ]
    return Page(items, page.next)


@post("/destinations/{destination:str}/recalls", opt=allow("officer"), sync_to_thread=True, status_code=200)
def recall_everything(
    services: InjectedServices, caller: InjectedCaller, destination: FromPath[str]
) -> dict[str, int]:
    """Recall all that a destination holds, whatever the policies permit; answers of how many people."""
    _check(services, caller, destination)
    return {"recalled": services.outbox.recall_everything(caller.actor, destination)}


@post(
    "/destinations/{destination:str}/acknowledgements",
    opt=allow("destination"),
    sync_to_thread=True,
    status_code=200,
)
def acknowledge(
    services: InjectedServices,
    caller: InjectedCaller,
    destination: FromPath[str],
    data: JSONBody[AcknowledgementBody],
) -> dict[str, int]:
    """Record that a destination has done what messages told it; safe to repeat."""
    _check(services, caller, destination)
    return {"acknowledged": services.outbox.acknowledge(caller.principal, data.ids)}


@get("/destinations/{destination:str}/webhook", opt=_OWN, sync_to_thread=True)
def webhook(services: InjectedServices, caller: InjectedCaller, destination: FromPath[str]) -> dict[str, Any]:
    """Show where a destination is told, and whether that works."""
    _check(services, caller, destination)
    return _shown(services.webhooks.get(destination))


@put("/destinations/{destination:str}/webhook", opt=_OWN, sync_to_thread=True)
def set_webhook(
    services: InjectedServices,
    caller: InjectedCaller,
    destination: FromPath[str],
    data: JSONBody[WebhookBody],
) -> dict[str, Any]:
    """Say where a destination is told; the answer to the first time holds its secret, this once."""
    _check(services, caller, destination)
    return _shown(services.webhooks.put(caller.actor, destination, data.url))


@post("/destinations/{destination:str}/webhook/rotate", opt=_OWN, sync_to_thread=True, status_code=200)
def rotate_webhook(
    services: InjectedServices, caller: InjectedCaller, destination: FromPath[str]
) -> dict[str, Any]:
    """Give the endpoint a new secret, shown this once; for a day messages carry both signatures."""
    _check(services, caller, destination)
    return _shown(services.webhooks.rotate(caller.actor, destination))


@delete("/destinations/{destination:str}/webhook", opt=_OWN, sync_to_thread=True)
def delete_webhook(services: InjectedServices, caller: InjectedCaller, destination: FromPath[str]) -> None:
    """Take the endpoint away; recalls can still be read."""
    _check(services, caller, destination)
    services.webhooks.delete(caller.actor, destination)


@get(
    "/destinations/{destination:str}/segments/{segment:str}/changes",
    opt=allow("destination"),
    sync_to_thread=True,
)
def changes(
    services: InjectedServices,
    caller: InjectedCaller,
    destination: FromPath[str],
    segment: FromPath[str],
    purpose: FromQuery[str] = "",
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> dict[str, Any]:
    """Give a destination what changed of an audience since a cursor; without one, all of it.

    A page with ``from_start`` answers a cursor that is none of this feed (any more) with all of it, too.
    """
    _check(services, caller, destination)
    at = decode_cursor("changes", cursor, int, int, int)
    found = services.feeds.changes(
        caller.principal,
        segment,
        purpose or caller.purpose,
        FeedCursor() if at is None else FeedCursor(*at),
        checked_limit(limit),
    )
    last = found.cursor
    return {
        **({"from_start": True} if found.from_start and at is not None else {}),
        "changes": found.changes,
        "cursor": encode_cursor("changes", last.audience_no, last.seq, last.removed),
        "has_more": found.has_more,
    }


def _check(services: Services, caller: Caller, destination: str) -> None:
    """Let a destination's key see its own only; a name that was never one does not exist.

    :raises NotFoundError: it is not there for this key.
    """
    own = caller.principal.destination
    known = destination in services.bundle.destinations or bool(services.outbox.counts(destination))
    if (own and own != destination) or not known:
        raise NotFoundError("there is no such destination for this key")


def _counts(found: list[MessageCount]) -> dict[str, Any]:
    states: dict[str, Mapping[str, int]] = {}
    for state in ("queued", "sent", "acknowledged", "failed"):
        of_state = [one for one in found if one.state == state]
        states[state] = {
            "messages": sum(one.messages for one in of_state),
            "people": sum(one.people for one in of_state),
        }
    late = [one for one in found if one.late]
    return {
        **states,
        "late": {"messages": sum(one.messages for one in late), "people": sum(one.people for one in late)},
        "oldest_late": rfc3339(min(one.oldest for one in late)) if late else None,
    }


def _shown(found: Shown) -> dict[str, Any]:
    endpoint = found.endpoint
    answer = {
        "url": endpoint.url,
        "enabled": endpoint.enabled,
        "disabled_for": endpoint.disabled_for or None,
        "failures": endpoint.failures,
        "public_key": found.public_key,
        "old_secret_until": None if endpoint.old_secret_until is None else rfc3339(endpoint.old_secret_until),
    }
    return answer if found.secret is None else {**answer, "secret": found.secret}


HANDLERS = [
    recalls,
    recall_everything,
    acknowledge,
    webhook,
    set_webhook,
    rotate_webhook,
    delete_webhook,
    changes,
]
