"""Retention: runs that delete what is past its period, and the legal holds that keep it.

The routes *are* the purpose: a caller's key must carry ``rights``, and nothing else is stated.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody

from cdp.api.auth import allow
from cdp.api.injected import InjectedCaller, InjectedServices
from cdp.api.rest.identifiers import IdentifierBody
from cdp.api.rest.rights import PURPOSE
from cdp.api.services import Services
from cdp.clock import rfc3339
from cdp.rights import EVERYBODY, Hold, HoldReason, Run

_OFFICER = allow("officer")


class RunBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run to begin; one that deletes nothing unless it is said."""

    dry_run: bool = True


class HoldBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A legal hold to place.

    :param identifier: whose data; everybody's when left out.
    :param categories: of which data, with all below; all when left out.
    """

    reason: HoldReason
    reference: str
    identifier: IdentifierBody | None = None
    categories: tuple[str, ...] = ()


@get("/retention/runs", opt=_OFFICER, sync_to_thread=True)
def list_runs(services: InjectedServices, caller: InjectedCaller) -> dict[str, Any]:
    """List the newest runs, with what each deleted by the row of retention.yaml that said so."""
    caller.state(PURPOSE)
    return {"items": [_run(run) for run in services.retention.runs()]}


@post("/retention/runs", opt=_OFFICER, sync_to_thread=True)
def begin_run(services: InjectedServices, caller: InjectedCaller, data: JSONBody[RunBody]) -> dict[str, Any]:
    """Begin a run, which goes on in the background; one that deletes needs a dry run of the same schedule."""
    caller.state(PURPOSE)
    return _run(services.retention.begin(caller.actor, dry=data.dry_run))


@get("/retention/runs/{run_id:str}", opt=_OFFICER, sync_to_thread=True)
def read_run(services: InjectedServices, caller: InjectedCaller, run_id: FromPath[str]) -> dict[str, Any]:
    """Show how far a run is."""
    caller.state(PURPOSE)
    return _run(services.retention.find(run_id))


@post("/retention/runs/{run_id:str}/stop", opt=_OFFICER, sync_to_thread=True)
def stop_run(services: InjectedServices, caller: InjectedCaller, run_id: FromPath[str]) -> dict[str, Any]:
    """End a run where it stands; what it deleted is gone."""
    caller.state(PURPOSE)
    return _run(services.retention.stop(caller.actor, run_id))


@get("/legal-holds", opt=_OFFICER, sync_to_thread=True)
def list_holds(
    services: InjectedServices,
    caller: InjectedCaller,
    lifted: FromQuery[bool] = False,  # noqa: FBT002  # a flag of the query
) -> dict[str, Any]:
    """List the register of legal holds, the newest first."""
    caller.state(PURPOSE)
    found = services.holds.register(caller.actor, standing=not lifted)
    return {"items": [_hold(services, hold) for hold in found]}


@post("/legal-holds", opt=_OFFICER, sync_to_thread=True)
def place_hold(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[HoldBody]
) -> dict[str, Any]:
    """Keep data from being deleted, by retention and by erasure, until the hold is lifted."""
    caller.state(PURPOSE)
    identifier = None if data.identifier is None else (data.identifier.type, data.identifier.value)
    placed = services.holds.place(caller.actor, identifier, data.categories, data.reason, data.reference)
    return _hold(services, placed)


@post("/legal-holds/{hold_id:str}/lift", opt=_OFFICER, sync_to_thread=True)
def lift_hold(services: InjectedServices, caller: InjectedCaller, hold_id: FromPath[str]) -> dict[str, Any]:
    """End a hold: what it kept beyond its period goes with the next run."""
    caller.state(PURPOSE)
    return _hold(services, services.holds.lift(caller.actor, hold_id))


def _run(run: Run) -> dict[str, Any]:
    return {
        "id": run.run_id,
        "dry_run": run.dry,
        "state": run.state,
        "as_of": rfc3339(run.now),
        "done": run.position,
        "of": run.upto,
        "counts": dict(sorted(run.counts.items())),
        "identities": run.identities,
        "schedule": run.schedule,
        "begun_by": run.actor,
    }


def _hold(services: Services, hold: Hold) -> dict[str, Any]:
    whose = None if hold.identity_no == EVERYBODY else services.profile_ids.encode(hold.identity_no)
    return {
        "id": hold.hold_id,
        "profile": whose,
        "categories": hold.categories,
        "reason": hold.reason,
        "reference": hold.reference,
        "placed_by": hold.placed_by,
        "placed_at": rfc3339(hold.placed_at),
        "lifted_at": None if hold.lifted_at is None else rfc3339(hold.lifted_at),
    }


HANDLERS = [list_runs, begin_run, read_run, stop_run, list_holds, place_hold, lift_hold]
