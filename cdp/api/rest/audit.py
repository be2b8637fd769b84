"""The audit log: search, checkpoint, proofs. Reading it is a use too, and is recorded."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromQuery, JSONBody, QueryParameter

from cdp.api.auth import allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, checked_limit, decode_cursor, page_of
from cdp.api.services import Services
from cdp.audit import AuditEntry, AuditFilter, Checkpoint, Entry
from cdp.clock import Micros, parse_rfc3339, rfc3339
from cdp.errors import InvalidInputError, NotFoundError

_OFFICER = allow("officer")


@get("/audit", opt=_OFFICER, sync_to_thread=True)
def search(
    services: InjectedServices,
    caller: InjectedCaller,
    actor: FromQuery[str | None] = None,
    action: FromQuery[str | None] = None,
    purpose: FromQuery[str | None] = None,
    destination: FromQuery[str | None] = None,
    outcome: FromQuery[str | None] = None,
    profile: FromQuery[str | None] = None,
    from_: Annotated[str | None, QueryParameter(name="from")] = None,
    to: FromQuery[str | None] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[dict[str, Any]]:
    """List entries that match, newest first, each with its index."""
    wanted = audit_filter(
        actor=actor,
        action=action,
        purpose=purpose,
        destination=destination,
        outcome=outcome,
        from_=from_,
        to=to,
    )
    found, _ = search_page(services, caller.actor, wanted, profile, limit, cursor)
    page = page_of(found, limit, "audit", lambda entry: (entry.index,))
    return Page([audit_entry(entry) for entry in page.items], page.next)


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
        entries = services.audit.search(connection, AuditFilter(), 1, index + 1)
    return {
        "index": index,
        "size": size,
        "root": _base64(root),
        "entry": entries[0].data.decode(),
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


@get("/audit/verify", opt=_OFFICER, sync_to_thread=True)
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


def audit_filter(
    *, from_: str | None = None, to: str | None = None, outcome: str | None = None, **names: str | None
) -> AuditFilter:
    """Return a filter from text.

    :raises InvalidInputError: a time is not RFC 3339, or there is no such outcome.
    """
    given = {name: value for name, value in names.items() if value}
    if outcome:
        given["outcome"] = outcome
    try:
        kept = msgspec.convert(given, AuditFilter)
    except msgspec.ValidationError:
        raise InvalidInputError("outcome is allowed, denied or failed") from None
    return msgspec.structs.replace(kept, from_=_instant("from", from_), to=_instant("to", to))


def _instant(name: str, text: str | None) -> Micros | None:
    try:
        return None if not text else parse_rfc3339(text)
    except ValueError:
        raise InvalidInputError(f"{name} is not an RFC 3339 time") from None


def search_page(
    services: Services,
    actor: str,
    wanted: AuditFilter,
    profile: str | None,
    limit: int,
    cursor: str | None,
) -> tuple[list[AuditEntry], int]:
    """Return up to ``limit + 1`` entries behind a cursor and how many match; the search is recorded."""
    at = decode_cursor("audit", cursor, int)
    with services.committer.batch() as batch:
        if profile is not None:
            identities = services.portrait.about(batch.connection, profile).identity_nos
            wanted = msgspec.structs.replace(wanted, identity_nos=identities)
        found = services.audit.search(
            batch.connection, wanted, checked_limit(limit) + 1, None if at is None else at[0]
        )
        total = services.audit.count(batch.connection, wanted)
        batch.record(
            Entry(
                action="audit.search",
                actor=actor,
                counts={"entries": len(found[:limit])},
                subjects=wanted.identity_nos or (),
            )
        )
    return found, total


def audit_entry(entry: AuditEntry) -> dict[str, Any]:
    """Return an entry as REST shows it."""
    return {
        "index": entry.index,
        "at": rfc3339(entry.at),
        "commit_no": entry.commit_no,
        "actor": entry.actor,
        "action": entry.action,
        "outcome": entry.outcome,
        "purpose": entry.purpose or None,
        "destination": entry.destination or None,
        "object": entry.object,
        "counts": entry.counts,
        "people": entry.people,
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


HANDLERS = [search, checkpoint, sign_checkpoint, open_origin, inclusion, consistency, verify]
