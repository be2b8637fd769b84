"""The audit log: checkpoints, proofs, verification. What is in it is asked in ``audit_search.py``."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromQuery, JSONBody, QueryParameter

from cdp.api.auth import allow
from cdp.api.injected import InjectedCaller, InjectedServices
from cdp.api.services import Services
from cdp.audit import Checkpoint
from cdp.clock import rfc3339
from cdp.errors import NotFoundError

_OFFICER = allow("officer")


@get("/audit/checkpoint", opt=_OFFICER, sync_to_thread=True)
def checkpoint(services: InjectedServices, request: Request[Any, Any, Any]) -> dict[str, Any] | Response[str]:
    """Return the newest signed checkpoint: JSON, or to who accepts text a C2SP note with cosignatures."""
    with services.store.reading() as connection:
        if request.accept.best_match(["application/json", "text/plain"]) == "text/plain":
            note = services.public_log.note(connection)
            return Response(note, media_type="text/plain; charset=utf-8")
        found = services.audit.latest_checkpoint(connection)
    if found is None:
        raise NotFoundError("no checkpoint is signed yet; POST /api/v1/audit/checkpoint signs one")
    return _checkpoint(services, found)


@post("/audit/checkpoint", opt=_OFFICER, sync_to_thread=True)
def sign_checkpoint(services: InjectedServices) -> dict[str, Any]:
    """Sign the log as it stands now and return the checkpoint."""
    return _checkpoint(services, services.audit.sign_checkpoint(services.committer))


class OriginBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new origin to open.

    :param checkpoint: the newest signed note that anybody holds; without it the one in CDP_CHECKPOINT_FILE.
    """

    reason: Literal["restored_backup", "damaged_database", "test"]
    checkpoint: str = ""


@post("/audit/origin", opt=_OFFICER, sync_to_thread=True)
def open_origin(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[OriginBody]
) -> dict[str, Any]:
    """Go on under a new origin whose first entry names the checkpoint that the log fell behind."""
    opened = services.audit.open_origin(services.committer, caller.actor, data.reason, data.checkpoint)
    return _checkpoint(services, opened)


@get("/audit/proof/inclusion", opt=_OFFICER, sync_to_thread=True)
def inclusion(
    services: InjectedServices, index: FromQuery[int], size: FromQuery[int | None] = None
) -> dict[str, Any]:
    """Prove that an entry is in the log of a size (RFC 9162, 2.1.3); its leaf comes along."""
    with services.store.reading() as connection:
        size = services.audit.size(connection) if size is None else size
        proof = services.audit.inclusion(connection, index, size)
        root = services.audit.root(connection, size)
        entry = services.audit.entry(connection, index)
    return {
        "index": index,
        "size": size,
        "root": _base64(root),
        "entry": None if entry is None else entry.data.decode(),
        "hashes": [_base64(node) for node in proof],
    }


@get("/audit/proof/consistency", opt=_OFFICER, sync_to_thread=True)
def consistency(
    services: InjectedServices,
    from_: Annotated[int, QueryParameter(name="from")],
    to: FromQuery[int | None] = None,
) -> dict[str, Any]:
    """Prove that the log of one size begins with that of an earlier one (RFC 9162, 2.1.4)."""
    with services.store.reading() as connection:
        to = services.audit.size(connection) if to is None else to
        proof = services.audit.consistency(connection, from_, to)
        roots = [services.audit.root(connection, size) for size in (from_, to)]
    return {
        "from": from_,
        "to": to,
        "from_root": _base64(roots[0]),
        "to_root": _base64(roots[1]),
        "hashes": [_base64(node) for node in proof],
    }


@get("/audit/verify", opt=allow("officer", query="audit.verify"), sync_to_thread=True)
def verify(services: InjectedServices) -> dict[str, Any]:
    """Recompute the whole log and compare it with everything stored about it."""
    with services.store.reading() as connection:
        report = services.audit.verify(connection)
    return {
        "verified": report.ok,
        "entries": report.entries,
        "checkpoints": report.checkpoints,
        "signed": report.signed,
        "root": _base64(report.root),
        "problems": [str(problem) for problem in report.problems],
    }


def _checkpoint(services: Services, found: Checkpoint) -> dict[str, Any]:
    return {
        "size": found.size,
        "root": _base64(found.root),
        "note": found.note,
        "signed_at": rfc3339(found.signed_at),
        "verifier": services.audit.verifier_text(found),
    }


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


HANDLERS = [checkpoint, sign_checkpoint, open_origin, inclusion, consistency, verify]
