"""Exports held against the log: proofs that somebody was in one or was not, and replays.

Invariants: a proof file holds the entry of the decision, which names the segment, so it is for officers
alone; a proof secret comes in a body, never in a URL. A replay goes on in the server when its caller is gone,
and its report holds numbers only.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody

from cdp.api.auth import Caller, allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, checked_limit, decode_cursor, page_of
from cdp.api.services import Services
from cdp.clock import rfc3339
from cdp.errors import InvalidInputError, NotFoundError, NotPermittedError
from cdp.gate import Progress, Proof, Replay, Report, proof_path

_OFFICER = allow("officer")
_REVIEW = "compliance_review"
_NUMBER = re.compile("[0-9]{1,15}")
_SECRET = re.compile("[0-9a-fA-F]{64}")


class SecretBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a proof is to be about, who brings the secret themself.

    :param proof_secret: 64 hex digits, as they stand in the certificate of an erasure.
    """

    proof_secret: str

    def __repr__(self) -> str:
        return "<secret>"


@get("/exports/{export_id:str}/proof", opt=allow("destination", "officer"), sync_to_thread=True)
def proof(
    services: InjectedServices,
    caller: InjectedCaller,
    export_id: FromPath[str],
    profile_ref: FromQuery[str] = "",
    profile: FromQuery[str] = "",
    format: FromQuery[Literal["plain", "file"]] = "plain",  # noqa: A002  # the name that callers use
    identity: FromQuery[int] = 0,
) -> dict[str, Any]:
    """Prove that somebody was in an export or was not: by reference, or for an officer by profile id.

    With `format=file` an officer gets a file that stands alone and is checked offline, about one identity of
    the profile: `identity` counts them from 0, in the order of `proofs`.
    """
    services.exports.get(caller.principal, export_id)
    if format == "file" and not caller.has("officer"):
        raise NotPermittedError("a proof file holds the entry of the decision, which is for officers")
    items = _proofs(services, caller, export_id, profile_ref, profile)
    if format == "file":
        if not 0 <= identity < len(items):
            raise NotFoundError("there is no such identity of this profile with a proof key")
        return services.gate.proofs.file(items[identity])
    return {"present": any(one.released for one in items), "proofs": [_proof(one) for one in items]}


@post("/exports/{export_id:str}/proof", opt=_OFFICER, sync_to_thread=True, status_code=200)
def proof_by_secret(
    services: InjectedServices,
    caller: InjectedCaller,
    export_id: FromPath[str],
    data: JSONBody[SecretBody],
) -> dict[str, Any]:
    """Make the proof file for whoever holds a proof secret: somebody who was erased, above all."""
    purpose = caller.state(caller.purpose)
    if not _SECRET.fullmatch(data.proof_secret):
        raise InvalidInputError("proof_secret is 64 hex digits, as they stand in the certificate")
    proofs, secret = services.gate.proofs, bytes.fromhex(data.proof_secret)
    return proofs.file(proofs.of_secret(caller.actor, export_id, secret, purpose=purpose))


def _proofs(
    services: Services, caller: Caller, export_id: str, profile_ref: str, profile: str
) -> list[Proof]:
    proofs = services.gate.proofs
    if profile and caller.has("officer"):
        purpose = caller.state(caller.purpose)
        number = services.profile_ids.decode(profile)
        with services.store.reading() as connection:
            profile_no = services.identity.profile_of(connection, number)
            found = services.identity.members(connection, profile_no)
        return proofs.of_identities(caller.actor, export_id, found, purpose=purpose)
    if profile_ref:
        return [proofs.of_reference(caller.principal, export_id, profile_ref)]
    raise InvalidInputError("name a profile_ref; an officer may name a profile")


def _proof(found: Proof) -> dict[str, Any]:
    return {
        "position": found.position.hex(),
        "value": None if found.value is None else found.value.hex(),
        "released": found.released,
        "manifest": {"root": found.manifest_root.hex(), **proof_path(found.decided)},
        "changed": {"root": found.changed_root.hex(), **proof_path(found.taken_out)},
    }


@post("/exports/{export_id:str}/replay", opt=_OFFICER, sync_to_thread=True, status_code=202)
def start(services: InjectedServices, caller: InjectedCaller, export_id: FromPath[str]) -> dict[str, Any]:
    """Decide an export again from the facts as they stood; it goes on in the server."""
    caller.state(_REVIEW)
    return shown(services.replays.start(caller.actor, export_id))


@get("/exports/{export_id:str}/replays", opt=_OFFICER, sync_to_thread=True)
def replays(
    services: InjectedServices,
    caller: InjectedCaller,
    export_id: FromPath[str],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List the replays of an export, the newest first."""
    services.exports.get(caller.principal, export_id)
    at = decode_cursor("export-replays", cursor, int)
    found = services.replays.of_export(export_id, checked_limit(limit) + 1, None if at is None else at[0])
    page = page_of(found, limit, "export-replays", lambda one: (one.replay_no,))
    return Page([shown(one) for one in page.items], page.next)


@get("/exports/{export_id:str}/replays/{replay_no:str}", opt=_OFFICER, sync_to_thread=True)
def replay(services: InjectedServices, export_id: FromPath[str], replay_no: FromPath[str]) -> dict[str, Any]:
    """Show a replay: how far it is while it runs here, and then what came of it."""
    number = int(replay_no) if _NUMBER.fullmatch(replay_no) else 0
    return shown(*services.replays.get(export_id, number))


def shown(found: Replay, progress: Progress | None = None) -> dict[str, Any]:
    """Return a replay as JSON."""
    return {
        "replay": found.replay_no,
        "export": found.export_id,
        "state": found.state,
        "started_at": rfc3339(found.started_at),
        "finished_at": None if found.finished_at is None else rfc3339(found.finished_at),
        "progress": None if progress is None else msgspec.structs.asdict(progress),
        "report": None if found.report is None else _report(found.report),
    }


def _report(found: Report) -> dict[str, Any]:
    given = msgspec.to_builtins(found)
    return {
        "verdict": found.verdict(),
        "ok": found.ok,
        **given,
        "decided_at": rfc3339(found.decided_at),
        "same_code": found.code == found.code_now,
    }


HANDLERS = [proof, proof_by_secret, start, replays, replay]
