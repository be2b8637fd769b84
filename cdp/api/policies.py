"""The officer's verbs on policies, as both faces offer them: REST and GraphQL call these and add nothing.

The candidate is the server's own folder or files that are uploaded; only its texts are read, never a path in
a name. What is answered is what REST shows as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cdp.api.auth import Caller
from cdp.api.services import Services
from cdp.clock import Micros, parse_rfc3339, rfc3339
from cdp.errors import ConflictError, IntegrityError, InvalidInputError, NotPermittedError, PolicyError
from cdp.gate import DecisionQuestion, Difference, Explained, check_candidate
from cdp.policy import (
    Activation,
    Bundle,
    Destination,
    Proposal,
    Purpose,
    Switch,
    read_folder,
    read_tests,
    suggest,
)

Files = Mapping[str, str] | None
"""Name relative to the folder → text; None for the server's own folder."""
_ABOUT_PEOPLE = frozenset({"compliance_review", "rights"})


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


def overview(services: Services) -> dict[str, Any]:
    """Return the bundle in force, proposals, past activations and switches."""
    found = services.policies.overview()
    return {
        **bundle(services.bundle),
        "four_eyes": found.four_eyes,
        "proposals": [
            {
                **proposal(held),
                "failed": held.failed,
                "difference": held.summary,
                "consent": _progress(services, held.sha256),
            }
            for held in found.proposals
        ],
        "activations": [activation(held) for held in found.history],
        "switches": [switched(held) for held in found.switches],
    }


def _progress(services: Services, sha256: str) -> dict[str, int] | None:
    """Return how far the states of consent that a proposal needs have come.

    Nothing when they are there, and for a proposal that cannot be read.
    """
    try:
        with services.store.reading() as connection:
            candidate = services.policies.stored(connection, sha256)
    except (PolicyError, IntegrityError):
        return None
    left = services.deriving.progress(candidate)
    return None if left is None else msgspec.structs.asdict(left)


def check(services: Services, files: Files, tests: Files) -> dict[str, Any]:
    """Return every mistake of a candidate, and which of its tests fail.

    :param tests: of uploaded files; the server's own go with its own folder.
    """
    return _tested(services, *_candidate(services, files, tests))


def _tested(services: Services, given: Mapping[str, bytes], cases: Mapping[str, bytes]) -> dict[str, Any]:
    found = check_candidate(given, cases, services.clock.now())
    return {
        "bundle": None if found.bundle is None else found.bundle.sha256,
        "tests": found.tests,
        "failed": sum(finding.severity == "error" for finding in found.findings),
        "findings": [msgspec.structs.asdict(finding) for finding in found.findings],
    }


def diff(services: Services, caller: Caller, files: Files, tests: Files) -> dict[str, Any]:
    """Return what a candidate would change, and what a check of it finds.

    :param tests: as for ``check``.
    """
    given, cases = _candidate(services, files, tests)
    checked = services.policies.check(given)
    shown = difference(services.review.difference(caller.actor, checked))
    return {**shown, "check": _tested(services, given, cases)}


def propose(services: Services, caller: Caller, files: Files, tests: Files) -> dict[str, Any]:
    """Propose a candidate; the answer shows its difference, and what a check of it finds.

    A test that fails keeps nobody from it: whoever approves decides. How many do is in the audit log.

    :param tests: as for ``check``.
    :raises ConflictError: it is in force already.
    """
    given, cases = _candidate(services, files, tests)
    checked = services.policies.check(given)
    if checked.sha256 == services.bundle.sha256:
        raise ConflictError("this bundle is in force already")
    found = services.review.difference(caller.actor, checked)
    shown = {**difference(found), "check": _tested(services, given, cases)}
    made = services.policies.propose(caller.principal, checked, given, found.base, shown, found.people())
    return {"proposal": proposal(made), "difference": made.summary}


def approve(services: Services, caller: Caller, named: str) -> dict[str, Any]:
    """Put a proposed candidate in force.

    :param named: the proposal's id, or the bundle's whole SHA-256.
    """
    for candidate in services.policies.proposed(named):
        services.deriving.prepare(candidate)  # while the policies of now go on being served
    done = services.policies.approve(caller.principal, named)
    services.in_force.refresh()
    services.deriving.settle()
    services.rules_pass.begin(caller.actor)
    return activation(done)


def reject(services: Services, caller: Caller, named: str) -> dict[str, Any]:
    """Reject a proposal: nobody can approve it any more."""
    return proposal(services.policies.reject(caller.principal, named))


def switch(
    services: Services, caller: Caller, destination: str, *, enabled: bool, reason: str
) -> dict[str, Any]:
    """Switch a destination off at once, in running exports too; or on again."""
    return switched(services.policies.switch(caller.principal, destination, enabled=enabled, reason=reason))


def suggestions(services: Services) -> dict[str, Any]:
    """Propose declarations for fields that sources send and ``fields.yaml`` does not declare."""
    found = services.catalogue.undeclared()
    return {
        "fields": [msgspec.to_builtins(item) for item in found],
        "yaml": suggest(services.bundle, found),
    }


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
        lambda connection, identity_no: services.review.explain(connection, identity_no, prepared),
        about,
    )


def encoded(files: Mapping[str, str]) -> dict[str, bytes]:
    """Return texts as the bytes of files."""
    return {name: text.encode() for name, text in files.items()}


def _candidate(services: Services, files: Files, tests: Files) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return a candidate's files and its tests."""
    folder = services.settings.policies_dir
    cases = read_tests(folder) if files is None and tests is None else encoded(tests or {})
    return read_folder(folder) if files is None else encoded(files), cases


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
        "changes": msgspec.to_builtins(found.changes),
        "permits": msgspec.to_builtins(found.permits),
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
        "failed": found.failed,
        "activated_at": rfc3339(found.activated_at),
        "four_eyes": found.four_eyes,
    }


def switched(found: Switch) -> dict[str, Any]:
    """Return a switch as REST shows it."""
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
