"""The review queue of identities: what a machine would not decide, for a steward.

Invariants: the key carries the purpose ``identity_resolution``; pairs are opaque ids with levels of agreement
and weights, never a value: clear values are a reveal of each profile, with its own purpose and reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody

from cdp.api.auth import allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, checked_limit, decode_cursor, page_of
from cdp.api.rest.matching import MATCHING
from cdp.api.services import Services
from cdp.clock import rfc3339
from cdp.matching import Decision, Reviewed

_READ = allow("officer", "steward")
Kind = Literal["match", "set_aside", "large"]
"""What is listed: pairs that matching proposes, pairs that the rules keep apart, profiles that grew."""


class DecisionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a steward decides: they are one person, or they are not to be taken for one."""

    decision: Decision


@get("/identity/review", opt=_READ, sync_to_thread=True)
def queue(
    services: InjectedServices,
    caller: InjectedCaller,
    kind: FromQuery[Kind] = "match",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List pairs that wait for a steward, the likeliest first; or what the rules keep apart, or what grew."""
    caller.state(MATCHING)
    return _PAGES[kind](services, caller.actor, checked_limit(limit), cursor)


def _matches(services: Services, actor: str, limit: int, cursor: str | None) -> Page[dict[str, Any]]:
    at = decode_cursor("review", cursor, int, str)
    found = services.review_queue.waiting(actor, limit + 1, None if at is None else (at[0], at[1]))
    page = page_of(found, limit, "review", lambda one: (one.found.weight, one.id))
    return Page([shown(one) for one in page.items], page.next)


def _set_aside(services: Services, actor: str, limit: int, cursor: str | None) -> Page[dict[str, Any]]:
    ids = services.profile_ids
    at = decode_cursor("review-aside", cursor, str, str)
    after = None if at is None else (ids.decode(at[0]), ids.decode(at[1]))
    found = services.watch.set_aside(actor, limit + 1, after)
    page = page_of(found, limit, "review-aside", lambda one: tuple(map(ids.encode, one.pair)))
    return Page(
        [
            {
                "kind": "set_aside",
                "identities": [ids.encode(number) for number in one.pair],
                "types": list(one.types),
                "reason": one.reason,
                "evidence": one.event_id.hex(),
                "rules_version": one.rules_version,
                "decided_at": rfc3339(one.decided_at),
            }
            for one in page.items
        ],
        page.next,
    )


def _large(services: Services, actor: str, limit: int, cursor: str | None) -> Page[dict[str, Any]]:
    ids = services.profile_ids
    at = decode_cursor("review-large", cursor, str)
    found = services.watch.large(actor, limit + 1, 0 if at is None else ids.decode(at[0]))
    page = page_of(found, limit, "review-large", lambda one: (ids.encode(one.profile_no),))
    return Page(
        [
            {"kind": "large", "profile": ids.encode(one.profile_no), "identities": one.identities}
            for one in page.items
        ],
        page.next,
    )


_PAGES: dict[Kind, Callable[[Services, str, int, str | None], Page[dict[str, Any]]]] = {
    "match": _matches,
    "set_aside": _set_aside,
    "large": _large,
}


@get("/identity/review/{pair_id:str}", opt=_READ, sync_to_thread=True)
def show(services: InjectedServices, caller: InjectedCaller, pair_id: FromPath[str]) -> dict[str, Any]:
    """Show a pair: how each field adds to how likely it is."""
    caller.state(MATCHING)
    return shown(services.review_queue.show(caller.actor, pair_id))


@post("/identity/review/{pair_id:str}", opt=allow("steward"), sync_to_thread=True, status_code=200)
def decide(
    services: InjectedServices, caller: InjectedCaller, pair_id: FromPath[str], data: JSONBody[DecisionBody]
) -> dict[str, Any]:
    """Accept a pair, which links its profiles, or reject it, which keeps it from being proposed again."""
    caller.state(MATCHING)
    state, at = services.review_queue.decide(caller.actor, pair_id, data.decision)
    return {"id": pair_id, "state": state, "decided_at": rfc3339(at)}


def shown(one: Reviewed) -> dict[str, Any]:
    """Return a pair as JSON; weights are log2 of the odds."""
    found = one.found
    return {
        "id": one.id,
        "kind": "match",
        "profiles": list(one.profiles),
        "probability": round(found.probability, 4),
        "weight": found.weight / 1000,
        "why": found.evidence.why,
        "run": found.run_no,
        "waterfall": [msgspec.structs.asdict(step) for step in found.evidence.steps],
    }


HANDLERS = [queue, show, decide]
