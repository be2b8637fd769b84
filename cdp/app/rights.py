"""Wires the rights of the person: what fulfils a request of each kind."""

from __future__ import annotations

from collections.abc import Collection

from cdp.clock import Clock
from cdp.crypto import Keyring
from cdp.errors import ConflictError, NotFoundError
from cdp.export import Outbox
from cdp.gate import Gate
from cdp.identity import IdentityService
from cdp.policy import InForce
from cdp.profiles import ProfileService
from cdp.rights import (
    Acts,
    Archives,
    Corrections,
    ErasureService,
    Fulfiller,
    Recipients,
    RequestKind,
    RightsRequest,
    RightsService,
)
from cdp.store import Committer, Connection


def wire_rights(
    committer: Committer,
    keyring: Keyring,
    identity: IdentityService,
    profiles: ProfileService,
    acts: Acts,
    gate: Gate,
    outbox: Outbox,
    in_force: InForce,
    clock: Clock,
    archives: Archives,
    erasure: ErasureService,
) -> RightsService:
    """Return the requests with all that works on them."""

    def places(connection: Connection, identity_no: int) -> Collection[str]:
        profile_no = identity.profile_of(connection, identity_no)
        numbers = identity.members(connection, profile_no)
        laws = gate.facts.laws(connection, {profile_no: numbers}, in_force.bundle, clock.now())
        return laws.of[profile_no]

    policy = in_force.refresh
    recipients = Recipients(committer, outbox, gate, identity, clock, policy, places)
    fulfillers: dict[RequestKind, Fulfiller] = {
        "access": archives.fulfil,
        "portability": archives.fulfil,
        "erasure": erasure.fulfil,
        "restriction": recipients.restrained,
        "objection": recipients.restrained,
        "rectification": recipients.rectified,
    }
    corrections = Corrections(committer, keyring, identity, profiles, clock, policy)
    rights = RightsService(
        committer, keyring, identity, acts, clock, policy, places, fulfillers, corrections.record
    )
    rights.on_change.append(archives.changed)
    return rights


def link_to(archives: Archives, request: RightsRequest) -> str | None:
    """Return the address of what a request for access gave; None when there is nothing to fetch."""
    try:
        return archives.link("system", request.request_id)[0]
    except (NotFoundError, ConflictError):
        return None
