"""Where sources contradict each other about somebody: a list for whoever settles whose word counts."""

from __future__ import annotations

from typing import Any

from litestar import get
from litestar.params import FromQuery

from cdp.api.auth import allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, checked_limit, decode_cursor, encode_cursor
from cdp.clock import rfc3339
from cdp.portrait import Conflict

_LIST = "conflicts"
_READ = allow("officer", "steward", purpose=True)


@get("/identity/conflicts", opt=_READ, sync_to_thread=True)
def conflicts(
    services: InjectedServices,
    caller: InjectedCaller,
    trait: FromQuery[str | None] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List traits about which sources differ: each one's last word, and which value holds by which rule."""
    at = decode_cursor(_LIST, cursor, str, str)
    after = ("", "") if at is None else (at[0], at[1])
    encode = services.profile_ids.encode
    found, place = services.conflicts.page(caller.actor, caller.purpose, checked_limit(limit), trait, after)
    behind = None if place is None else encode_cursor(_LIST, encode(place[0]), place[1])
    return Page([shown(one, encode(one.profile_no)) for one in found], behind)


def shown(one: Conflict, profile_id: str) -> dict[str, Any]:
    """Return a conflict as the API shows it."""
    return {
        "profile": profile_id,
        "trait": one.trait,
        "rule": one.rule,
        "values": [
            {
                "source": word.source,
                "value": word.value,
                "observed_at": rfc3339(word.observed_at),
                "holds": word.holds,
            }
            for word in one.words
        ],
    }


HANDLERS = (conflicts,)
