"""A steward's merge and split: what they would do, then do it; groups by opaque ids, counts and states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from litestar import post
from litestar.params import FromPath, JSONBody

from cdp.api.auth import Caller, allow
from cdp.api.injected import InjectedCaller, InjectedServices
from cdp.api.services import Services
from cdp.errors import InvalidInputError
from cdp.portrait import Relinked, Side

_STEWARD = allow("steward")
_USUAL = "data_quality"
"""What a steward who states no purpose changes links for, where the key may."""


class MergeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Profiles to link by a steward's word.

    :param reason: as for a reveal; may be left out.
    """

    ids: tuple[str, ...]
    dry_run: bool = True
    reason: str | None = None


class SplitBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to take apart, and whether to do it or to say what it would do.

    :param identities: what is carved out of the profile, as one. Left out, the last merge of the id is taken
        back; where there is none, its identity is carved out.
    :param link: two identities of which only the link is revoked.
    :param reason: as for a reveal; may be left out.
    """

    dry_run: bool = True
    identities: tuple[str, ...] | None = None
    link: tuple[str, str] | None = None
    reason: str | None = None


@post("/profiles/merge", opt=_STEWARD, sync_to_thread=True, status_code=200)
def merge(services: InjectedServices, caller: InjectedCaller, data: JSONBody[MergeBody]) -> dict[str, Any]:
    """Say what linking profiles would do; do it with ``dry_run: false``."""
    return relinked(link_profiles(services, caller, data), services.profile_ids.encode)


@post("/profiles/{profile_id:str}/split", opt=_STEWARD, sync_to_thread=True, status_code=200)
def split(
    services: InjectedServices,
    caller: InjectedCaller,
    profile_id: FromPath[str],
    data: JSONBody[SplitBody | None] = None,
) -> dict[str, Any]:
    """Say what taking identifiers out of a profile would do; do it with ``dry_run: false``."""
    done = take_apart(services, caller, profile_id, data or SplitBody())
    return relinked(done, services.profile_ids.encode)


def link_profiles(services: Services, caller: Caller, asked: MergeBody) -> Relinked:
    """Link profiles, as asked."""
    steward, purpose = services.steward, relinking(caller)
    return steward.merge(caller.actor, purpose, asked.ids, reason=asked.reason or "", dry_run=asked.dry_run)


def take_apart(services: Services, caller: Caller, profile_id: str, asked: SplitBody) -> Relinked:
    """Carve out identities or revoke a link, as asked.

    :raises InvalidInputError: an empty list of identities, both, or a link without ``profile_id``.
    """
    actor, purpose, steward = caller.actor, relinking(caller), services.steward
    named, reason = asked.identities, asked.reason or ""
    if named == ():
        raise InvalidInputError(
            "identities names at least one identity; leave it out to take back the last merge of the id"
        )
    if asked.link is None:
        return steward.split(actor, purpose, profile_id, named or (), reason, dry_run=asked.dry_run)
    if named or profile_id not in asked.link:
        raise InvalidInputError("link takes the id of the path and one other, and no identities beside it")
    return steward.revoke(actor, purpose, asked.link, reason, dry_run=asked.dry_run)


def relinking(caller: Caller) -> str:
    """Return the purpose for which a steward changes links: as stated, else the usual one if the key may.

    :raises InvalidInputError: none is stated, and the key does not carry the usual one.
    :raises NotPermittedError: the key does not carry the stated purpose.
    """
    usual = not caller.purpose and caller.principal.may_state(_USUAL)
    return _USUAL if usual else caller.state(caller.purpose)


def relinked(found: Relinked, encode: Callable[[int], str]) -> dict[str, Any]:
    """Return a merge or split as REST shows it: groups of identities by opaque ids, counts and states."""

    def groups(of: Mapping[int, Side]) -> list[dict[str, Any]]:
        return [
            {
                "id": encode(number),
                "identities": [encode(member) for member in side.identities],
                "events": side.events,
                "traits": side.traits,
            }
            for number, side in of.items()
        ]

    def states(of: Mapping[int, Side], purpose: str) -> list[dict[str, str]]:
        return [{"id": encode(number), "state": side.consents[purpose]} for number, side in of.items()]

    everyone = (*found.before.values(), *found.after.values())
    purposes = sorted({purpose for side in everyone for purpose in side.consents})
    return {
        "dry_run": not found.plan.done,
        "before": groups(found.before),
        "after": groups(found.after),
        "links": [[encode(low), encode(high)] for low, high in found.plan.pairs],
        "links_gone": [[encode(low), encode(high)] for low, high in found.plan.gone],
        "links_made": [[encode(low), encode(high)] for low, high in found.plan.made],
        "set_aside": [
            {"link": [encode(low), encode(high)], "reason": reason}
            for (low, high), reason in found.plan.set_aside
        ],
        "refused": found.plan.refused,
        "consents": [
            {"purpose": key, "before": states(found.before, key), "after": states(found.after, key)}
            for key in purposes
            if len({side.consents[key] for side in everyone}) > 1
        ],
        "destinations": [msgspec.structs.asdict(one) for one in found.holders],
    }


HANDLERS = [merge, split]
