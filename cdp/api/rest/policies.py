"""Policies: what is in force, what a candidate would change, who put what in force; one decision explained.

The verbs are in ``cdp/api/policies.py``. Activation is two calls of two officers; a kill switch is one.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody

from cdp.api import policies as verbs
from cdp.api.auth import allow
from cdp.api.injected import InjectedCaller, InjectedServices
from cdp.api.rest.decisions import decision
from cdp.errors import InvalidInputError

_OFFICER = allow("officer")


class CandidateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A candidate bundle and its tests.

    :param files: name relative to the folder → text; the server's own folder when absent.
    :param tests: ``tests/NAME.yaml`` → text; the server's own go with its own folder.
    """

    files: dict[str, str] | None = None
    tests: dict[str, str] | None = None


class ActivateBody(CandidateBody, frozen=True, forbid_unknown_fields=True):
    """A candidate to propose, or the approval of one that was proposed.

    :param approve: a proposal's id, or the bundle's whole SHA-256.
    """

    approve: str = ""


class RejectBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A proposal to reject, named as for an approval."""

    proposal: str


class SwitchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A destination's switch.

    :param reason: a short code in snake_case.
    """

    enabled: bool
    reason: str


@get("/policies", opt=allow("officer", query="policy.read"), sync_to_thread=True)
def policies(services: InjectedServices) -> dict[str, Any]:
    """Show the bundle in force, proposals, past activations and switches."""
    return verbs.overview(services)


@post("/policies/check", opt=_OFFICER, sync_to_thread=True, status_code=200)
def check(services: InjectedServices, data: JSONBody[CandidateBody | None] = None) -> dict[str, Any]:
    """Name every mistake of a candidate with file, line and fix, and run its tests."""
    given = data or CandidateBody()
    return verbs.check(services, given.files, given.tests)


@post("/policies/diff", opt=_OFFICER, sync_to_thread=True, status_code=200)
def diff(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[CandidateBody | None] = None
) -> dict[str, Any]:
    """Say what a candidate would change: rules, people and fields gained and lost, what becomes stale."""
    given = data or CandidateBody()
    return verbs.diff(services, caller, given.files, given.tests)


@post("/policies/activate", opt=_OFFICER, sync_to_thread=True, status_code=200)
def activate(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[ActivateBody | None] = None
) -> dict[str, Any]:
    """Propose a candidate, which shows its difference; or, with ``approve``, put a proposed one in force."""
    given = data or ActivateBody()
    if not given.approve:
        return verbs.propose(services, caller, given.files, given.tests)
    if given.files is not None or given.tests is not None:
        raise InvalidInputError("approve names what was proposed; send no files with it")
    return {"activated": verbs.approve(services, caller, given.approve)}


@post("/policies/reject", opt=_OFFICER, sync_to_thread=True, status_code=200)
def reject(services: InjectedServices, caller: InjectedCaller, data: JSONBody[RejectBody]) -> dict[str, Any]:
    """Reject a proposal: nobody can approve it any more."""
    return {"rejected": verbs.reject(services, caller, data.proposal)}


@post("/policies/explain", opt=allow("officer", purpose=True), sync_to_thread=True, status_code=200)
def explain(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[verbs.ExplainBody]
) -> dict[str, Any]:
    """Explain one decision about one person: now, at an instant, or as a past export made it."""
    return decision(verbs.explained(services, caller, data))


@get("/policies/suggestions", opt=allow("officer", query="policy.suggest"), sync_to_thread=True)
def suggestions(services: InjectedServices) -> dict[str, Any]:
    """Propose declarations for fields that sources send and ``fields.yaml`` does not declare."""
    return verbs.suggestions(services)


@post("/destinations/{destination:str}/switch", opt=_OFFICER, sync_to_thread=True, status_code=200)
def switch(
    services: InjectedServices,
    caller: InjectedCaller,
    destination: FromPath[str],
    data: JSONBody[SwitchBody],
) -> dict[str, Any]:
    """Switch a destination off at once, in running exports too; or on again."""
    return verbs.switch(services, caller, destination, enabled=data.enabled, reason=data.reason)


HANDLERS = [policies, check, diff, activate, reject, explain, suggestions, switch]
