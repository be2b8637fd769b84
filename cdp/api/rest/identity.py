"""The rules by which identifiers are linked: those in force, what others would change, the pass that applies.

Invariants: rules are policies, so they come in force by activation alone (``/policies/activate``); a preview
writes nothing but its audit entry and shows no value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import get, post
from litestar.params import JSONBody

from cdp.api.auth import allow
from cdp.api.injected import InjectedCaller, InjectedServices
from cdp.api.policies import encoded
from cdp.api.rest.relink import relinking
from cdp.api.services import Services
from cdp.clock import rfc3339
from cdp.errors import InvalidInputError, NotFoundError
from cdp.identity import Cluster, Pass, RulesPreview, Sample
from cdp.policy import Blocked, IdentifierRule, IdentityRules, read_folder, read_rules

_READ = allow("officer", "steward")


class CandidateRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A candidate: one of these, or the server's own policies folder when none is given.

    :param files: a whole bundle: name relative to the folder → text.
    :param identity: the text of an ``identity.yaml``, beside the fields in force.
    :param proposal: an open proposal: its id, or its bundle's whole SHA-256.
    """

    files: dict[str, str] | None = None
    identity: str | None = None
    proposal: str | None = None


@get("/identity/rules", opt=_READ, sync_to_thread=True)
def rules(services: InjectedServices) -> dict[str, Any]:
    """Show the rules in force, and passes over everything with how far they have come."""
    bundle = services.bundle
    return {
        "bundle": bundle.sha256,
        **rules_shown(bundle.identity),
        "passes": [pass_shown(found) for found in services.rules_pass.passes()],
    }


@post("/identity/rules/preview", opt=_READ, sync_to_thread=True, status_code=200)
def preview(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[CandidateRules | None] = None
) -> dict[str, Any]:
    """Say who would come together and who would come apart under other rules. Changes nothing."""
    purpose = relinking(caller)
    candidate = _candidate(services, data or CandidateRules())
    found = services.rules_preview(caller.actor, purpose, candidate)
    return preview_shown(found, services)


@post("/identity/rules/pause", opt=_READ, sync_to_thread=True, status_code=200)
def pause(services: InjectedServices, caller: InjectedCaller) -> dict[str, Any]:
    """Stop the pass that applies the rules in force, after the page at hand."""
    return pass_shown(services.rules_pass.pause(caller.actor))


@post("/identity/rules/resume", opt=_READ, sync_to_thread=True, status_code=200)
def resume(services: InjectedServices, caller: InjectedCaller) -> dict[str, Any]:
    """Have the pass go on where it stands."""
    return pass_shown(services.rules_pass.resume(caller.actor))


def _candidate(services: Services, data: CandidateRules) -> IdentityRules:
    """Return the rules that are asked about.

    :raises InvalidInputError: several candidates are given.
    :raises NotFoundError: no open proposal is named so.
    :raises PolicyError: the candidate is wrong; the message names file, line and fix.
    """
    if sum(given is not None for given in (data.files, data.identity, data.proposal)) > 1:
        raise InvalidInputError("give one candidate: files, identity or proposal")
    if data.identity is not None:
        return read_rules(data.identity.encode(), services.bundle.fields)
    if data.proposal is not None:
        found = services.policies.proposed(data.proposal) if data.proposal else []
        if not found:
            raise NotFoundError("there is no open proposal of this name; `cdp policy show` lists them")
        return found[0].identity
    files = read_folder(services.settings.policies_dir) if data.files is None else encoded(data.files)
    return services.policies.check(files).identity


def rules_shown(held: IdentityRules) -> dict[str, Any]:
    """Return rules as REST shows them."""
    types = sorted(held.types.values(), key=lambda rule: rule.priority)
    return {
        "version": held.version,
        "profile_cap": held.profile_cap,
        "growth_alarm": held.growth_alarm,
        "component_cap": held.component_cap,
        "source_trust": held.source_trust,
        "matching": msgspec.structs.asdict(held.matching),
        "types": [_rule(found) for found in types],
        "external": _rule(held.external),
        "blocked": _blocked(held.blocked),
    }


def _rule(found: IdentifierRule) -> dict[str, Any]:
    limit = found.limit
    return {
        "type": found.type,
        "class": "device" if found.device else "person",
        "priority": found.priority,
        "unique": found.unique,
        "limit": None if limit is None else {"count": limit.count, "period": limit.period},
        "blocked": _blocked(found.blocked),
    }


def _blocked(found: Blocked) -> dict[str, list[str]]:
    return {
        "exact": sorted(found.exact),
        "prefix": list(found.prefix),
        "pattern": list(found.pattern),
    }


def pass_shown(found: Pass) -> dict[str, Any]:
    """Return a pass as REST shows it."""
    return {
        "no": found.pass_no,
        "kind": found.kind,
        "target": found.target,
        "state": found.state,
        "total": found.total,
        "done": min(found.done, found.total),
        "merged": found.merged,
        "parted": found.parted,
        "started_by": found.actor,
        "started_at": rfc3339(found.started_at),
        "worked_at": rfc3339(found.changed_at) if found.changed_at else None,
    }


def preview_shown(found: RulesPreview, services: Services) -> dict[str, Any]:
    """Return a preview as REST shows it: profiles by their ids, identifiers by their types."""
    encode = services.profile_ids.encode

    def cluster(one: Cluster) -> dict[str, Any]:
        return {"id": encode(one.profile_no), "size": one.size, "devices": one.devices, "types": one.types}

    def profiles(held: Mapping[int, dict[str, int]]) -> list[dict[str, Any]]:
        return [{"id": encode(profile_no), "types": types} for profile_no, types in held.items()]

    def sample(one: Sample) -> dict[str, Any]:
        return {
            "before": profiles(one.before),
            "after": profiles(one.after),
            "parts": one.parts,
            "links": [
                {
                    "types": list(link.types),
                    "evidence": link.event_id.hex(),
                    "before": link.before or None,
                    "after": link.after,
                }
                for link in one.links
            ],
        }

    return {
        "base": found.base,
        "candidate": found.candidate,
        "components": found.components,
        "profiles": found.profiles,
        "merged": found.merged,
        "parted": found.parted,
        "set_aside": found.set_aside,
        "blocked": found.blocked,
        "opened": found.opened,
        "unreadable": found.unreadable,
        "hidden": found.hidden,
        "largest": {when: [cluster(one) for one in several] for when, several in found.largest.items()},
        "merging": [sample(one) for one in found.merging],
        "parting": [sample(one) for one in found.parting],
    }


HANDLERS = [rules, preview, pause, resume]
