"""Policies: what is in force, what a candidate would change, who put what in force; one decision explained.

The candidate is the server's own folder or files that are uploaded; only its texts are read, never a path
in a name. Activation is two calls of two officers (``cdp.policy``); a kill switch is one.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody

from cdp.api.auth import Caller, allow
from cdp.api.injected import InjectedCaller, InjectedServices
from cdp.api.rest.decisions import decision
from cdp.api.services import Services
from cdp.clock import Micros, parse_rfc3339, rfc3339
from cdp.errors import ConflictError, InvalidInputError, NotPermittedError
from cdp.gate import DecisionQuestion, Difference, Explained
from cdp.policy import (
    Activation,
    Bundle,
    Destination,
    Overview,
    Proposal,
    Purpose,
    Switch,
    read_folder,
    suggest,
)

_OFFICER = allow("officer")
_ABOUT_PEOPLE = frozenset({"compliance_review", "rights"})


class CandidateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A candidate bundle.

    :param files: name relative to the folder → text; the server's own folder when absent.
    """

    files: dict[str, str] | None = None


class ActivateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A candidate to propose, or the approval of one that was proposed.

    :param approve: a proposal's id, or the bundle's SHA-256 or its first 12 digits or more.
    """

    files: dict[str, str] | None = None
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


class ExplainBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One decision to explain.

    :param profile: the profile's id.
    :param export: a past export, which says all the rest.
    :param as_of: RFC 3339; now when absent.
    """

    profile: str
    destination: str = ""
    purpose: str = ""
    segment: str = ""
    fields: tuple[str, ...] | None = None
    export: str = ""
    as_of: str | None = None


@get("/policies", opt=_OFFICER, sync_to_thread=True)
def policies(services: InjectedServices) -> dict[str, Any]:
    """Show the bundle in force, proposals, past activations and switches."""
    return {**bundle(services.bundle), **_overview(services.policies.overview())}


@post("/policies/diff", opt=_OFFICER, sync_to_thread=True, status_code=200)
def diff(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[CandidateBody | None] = None
) -> dict[str, Any]:
    """Say what a candidate would change: rules, people and fields gained and lost, what becomes stale."""
    files = candidate_files(services, None if data is None else data.files)
    return difference(services.review.difference(caller.actor, services.policies.check(files)))


@post("/policies/activate", opt=_OFFICER, sync_to_thread=True, status_code=200)
def activate(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[ActivateBody | None] = None
) -> dict[str, Any]:
    """Propose a candidate, which shows its difference; or, with ``approve``, put a proposed one in force."""
    given = data or ActivateBody()
    if given.approve:
        if given.files is not None:
            raise InvalidInputError("approve names what was proposed; send no files with it")
        done = services.policies.approve(caller.principal, given.approve)
        services.in_force.refresh()
        services.pipeline.settle_consent()
        return {"activated": activation(done)}
    files = candidate_files(services, given.files)
    checked = services.policies.check(files)
    if checked.sha256 == services.bundle.sha256:
        raise ConflictError("this bundle is in force already")
    found = services.review.difference(caller.actor, checked)
    shown = difference(found)
    made = services.policies.propose(caller.principal, checked, files, found.base, shown, found.people())
    return {"proposal": proposal(made), "difference": made.summary}


@post("/policies/reject", opt=_OFFICER, sync_to_thread=True, status_code=200)
def reject(services: InjectedServices, caller: InjectedCaller, data: JSONBody[RejectBody]) -> dict[str, Any]:
    """Reject a proposal: nobody can approve it any more."""
    return {"rejected": proposal(services.policies.reject(caller.principal, data.proposal))}


@post("/policies/explain", opt=allow("officer", purpose=True), sync_to_thread=True, status_code=200)
def explain(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[ExplainBody]
) -> dict[str, Any]:
    """Explain one decision about one person: now, at an instant, or as a past export made it."""
    return decision(explained(services, caller, data))


@get("/policies/suggestions", opt=_OFFICER, sync_to_thread=True)
def suggestions(services: InjectedServices) -> dict[str, Any]:
    """Propose declarations for fields that sources send and ``fields.yaml`` does not declare."""
    services.undeclared.flush()
    found = services.undeclared.seen()
    return {
        "fields": [msgspec.to_builtins(item) for item in found],
        "yaml": suggest(services.bundle, found),
    }


@post("/destinations/{destination:str}/switch", opt=_OFFICER, sync_to_thread=True, status_code=200)
def switch(
    services: InjectedServices,
    caller: InjectedCaller,
    destination: FromPath[str],
    data: JSONBody[SwitchBody],
) -> dict[str, Any]:
    """Switch a destination off at once, in running exports too; or on again."""
    done = services.policies.switch(caller.principal, destination, enabled=data.enabled, reason=data.reason)
    return _switch(done)


def candidate_files(services: Services, given: dict[str, str] | None) -> dict[str, bytes]:
    """Return the files of a candidate: those given, else those of the server's folder."""
    if given is None:
        return read_folder(services.settings.policies_dir)
    return {name: text.encode() for name, text in given.items()}


def explained(services: Services, caller: Caller, data: ExplainBody) -> Explained:
    """Answer a question about one person, on record.

    :raises NotPermittedError: the stated purpose is neither ``compliance_review`` nor ``rights``.
    """
    if caller.purpose not in _ABOUT_PEOPLE:
        raise NotPermittedError(f"a decision is explained for {' or '.join(sorted(_ABOUT_PEOPLE))} only")
    question = DecisionQuestion(
        destination=data.destination,
        purpose=data.purpose,
        segment=data.segment,
        fields=data.fields,
        export=data.export,
        as_of=_instant(data.as_of),
    )
    prepared = services.review.prepare(caller.actor, question)
    about: dict[str, str | int] = {}
    if data.export:
        about = {"export": data.export}
    elif data.destination in services.bundle.destinations and data.purpose in services.bundle.purposes:
        about = {"asked_destination": data.destination, "asked_purpose": data.purpose}
    return services.portrait.examine(
        caller.actor,
        caller.purpose,
        "policy.explain",
        data.profile,
        lambda connection, profile_no: services.review.explain(connection, profile_no, prepared),
        about,
    )


def bundle(held: Bundle) -> dict[str, Any]:
    """Return a bundle as REST shows it."""
    return {
        "version": held.sha256[:12],
        "sha256": held.sha256,
        "purposes": [_purpose(found) for _, found in sorted(held.purposes.items())],
        "destinations": [_destination(found) for _, found in sorted(held.destinations.items())],
        "rules": [msgspec.to_builtins(rule, builtin_types=()) for rule in held.rules],
    }


def _purpose(found: Purpose) -> dict[str, Any]:
    return {
        "key": found.key,
        "name": found.name,
        "description": found.description,
        "basis": found.basis,
        "channels": found.channels,
        "validity_days": found.validity_days,
        "internal": found.internal,
        "notices": [{"id": notice.id, "version": notice.version} for notice in found.notices],
    }


def _destination(found: Destination) -> dict[str, Any]:
    return {
        "name": found.name,
        "title": found.title,
        "type": found.type,
        "role": found.role,
        "country": found.country,
        "purposes": sorted(found.purposes),
        "minimum_audience": found.minimum_audience,
        "contract_expires": found.contract_expires,
        "enabled": found.enabled,
    }


def difference(found: Difference) -> dict[str, Any]:
    """Return a difference as REST shows it, and as it is kept with the proposal."""
    return {
        "base": found.base,
        "candidate": found.candidate,
        "changes": [msgspec.structs.asdict(change) for change in found.changes],
        "flows": msgspec.to_builtins(found.flows),
        "warnings": list(found.warnings),
    }


def proposal(found: Proposal) -> dict[str, Any]:
    """Return a proposal as REST shows it."""
    return {
        "id": found.proposal_id,
        "sha256": found.sha256,
        "base": found.base,
        "proposed_by": found.proposed_by,
        "proposed_at": rfc3339(found.proposed_at),
    }


def activation(found: Activation) -> dict[str, Any]:
    """Return an activation as REST shows it."""
    return {
        "sha256": found.sha256,
        "proposal": found.proposal_id or None,
        "proposed_by": found.proposed_by,
        "proposed_at": rfc3339(found.proposed_at),
        "approved_by": found.approved_by,
        "activated_at": rfc3339(found.activated_at),
        "four_eyes": found.four_eyes,
    }


def _overview(found: Overview) -> dict[str, Any]:
    return {
        "four_eyes": found.four_eyes,
        "proposals": [{**proposal(held), "difference": held.summary} for held in found.proposals],
        "activations": [activation(held) for held in found.history],
        "switches": [_switch(held) for held in found.switches],
    }


def _switch(found: Switch) -> dict[str, Any]:
    return {
        "destination": found.destination,
        "enabled": found.enabled,
        "reason": found.reason,
        "switched_by": found.switched_by,
        "switched_at": rfc3339(found.switched_at),
    }


def _instant(text: str | None) -> Micros | None:
    try:
        return None if text is None else parse_rfc3339(text)
    except ValueError:
        raise InvalidInputError("as_of is not an RFC 3339 time") from None


HANDLERS = [policies, diff, activate, reject, explain, suggestions, switch]
