"""Runs of matching: start one, see how it goes and how it went. Numbers only.

Invariants: a run goes on in the server when its caller is gone; the key that starts one carries the purpose
``identity_resolution``.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody

from cdp.api.auth import allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, checked_limit, decode_cursor, page_of
from cdp.clock import rfc3339
from cdp.matching import Progress, Run

MATCHING = "identity_resolution"
_READ = allow("officer", "steward")
_NUMBER = re.compile("[0-9]{1,15}")


class RunBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to match.

    :param full: train a model anew and compare everybody; else those who are new since the last run.
    :param dry_run: link nobody and queue nothing; say how many it would be.
    """

    full: bool = False
    dry_run: bool = False


@post("/match/runs", opt=allow("steward"), sync_to_thread=True, status_code=202)
def start(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[RunBody | None] = None
) -> dict[str, Any]:
    """Start a run of matching; it goes on in the server."""
    caller.state(MATCHING)
    body = data or RunBody()
    return shown(services.matching.start(caller.actor, full=body.full, dry_run=body.dry_run))


@get("/match/runs", opt=_READ, sync_to_thread=True)
def runs(
    services: InjectedServices, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[dict[str, Any]]:
    """List runs of matching, the newest first."""
    at = decode_cursor("match-runs", cursor, int)
    found = services.matching.runs(checked_limit(limit) + 1, None if at is None else at[0])
    page = page_of(found, limit, "match-runs", lambda run: (run.run_no,))
    return Page([shown(run) for run in page.items], page.next)


@get("/match/runs/{run_no:str}", opt=_READ, sync_to_thread=True)
def run(services: InjectedServices, run_no: FromPath[str]) -> dict[str, Any]:
    """Show a run, and how far it is while it runs here."""
    number = int(run_no) if _NUMBER.fullmatch(run_no) else 0
    return shown(*services.matching.run(number))


def shown(run: Run, progress: Progress | None = None) -> dict[str, Any]:
    """Return a run as JSON."""
    return {
        "run": run.run_no,
        "state": run.state,
        "model": run.model_no,
        "records": run.records,
        "excluded": run.excluded,
        "pairs": run.pairs,
        "linked": run.linked,
        "queued": run.queued,
        "started_at": rfc3339(run.started_at),
        "finished_at": None if run.finished_at is None else rfc3339(run.finished_at),
        "progress": None if progress is None else msgspec.structs.asdict(progress),
    }


HANDLERS = [start, runs, run]
