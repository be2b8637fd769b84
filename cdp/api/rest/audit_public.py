"""The audit log's public face: tiles (C2SP tlog-tiles), proofs as files (tlog-proof), bundles.

Hashes and entries hold nothing personal, and reading them is not recorded, as a mirror that follows the log
would make it grow by reading it; asking for a bundle is.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, get
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream

from cdp.api.auth import allow
from cdp.api.injected import InjectedCaller, InjectedServices
from cdp.audit import verifier_sha256
from cdp.clock import Micros, parse_rfc3339
from cdp.errors import InvalidInputError

_OFFICER = allow("officer")
_NOTE = "text/plain; charset=utf-8"
_PINS = 100


@get("/audit/tile/{path:path}", opt=_OFFICER, sync_to_thread=True, media_type="application/octet-stream")
def tile(services: InjectedServices, path: FromPath[str]) -> Response[bytes]:
    """Return a tile of hashes, or under ``entries/`` a bundle of entries (C2SP tlog-tiles)."""
    with services.store.reading() as connection:
        found = services.public_log.tile(connection, path.removeprefix("/"))
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return Response(found, media_type="application/octet-stream", headers=headers)


@get("/audit/proof/file", opt=_OFFICER, sync_to_thread=True, media_type="text/plain")
def proof_file(services: InjectedServices, index: FromQuery[int]) -> Response[str]:
    """Return the proof that an entry is in the log, as a file that is checked offline (C2SP tlog-proof)."""
    with services.store.reading() as connection:
        found = services.public_log.proof(connection, index)
    disposition = f'attachment; filename="entry-{index}.tlog-proof"'
    return Response(found, media_type=_NOTE, headers={"Content-Disposition": disposition})


@get("/audit/verifier", opt=_OFFICER, sync_to_thread=True)
def verifier(services: InjectedServices) -> dict[str, Any]:
    """Return what a verifier pins: the log's key, and the SHA-256 of the ``verify.py`` of bundles."""
    return {"key": services.audit.key.verifier_text(), "verify_py_sha256": verifier_sha256()}


@get("/audit/bundle", opt=_OFFICER, sync_to_thread=True, media_type="application/zip")
def bundle(
    services: InjectedServices,
    caller: InjectedCaller,
    from_: Annotated[str | None, QueryParameter(name="from")] = None,
    to: FromQuery[str | None] = None,
    pinned: FromQuery[list[int] | None] = None,
) -> Stream:
    """Return an archive from which a period of the log is verified offline.

    ``pinned``: sizes of checkpoints that the reader holds; the bundle leads back to them.
    """
    if len(pinned or ()) > _PINS:
        raise InvalidInputError(f"at most {_PINS} checkpoints can be named as pinned")
    plan = services.bundles.request(caller.actor, _instant("from", from_), _instant("to", to), pinned or ())
    headers = {
        "Content-Disposition": 'attachment; filename="audit-bundle.zip"',
        "Cache-Control": "no-store",
        "CDP-Bytes": str(plan.bytes),
    }
    return Stream(services.bundles.write(plan), media_type="application/zip", headers=headers)


def _instant(name: str, text: str | None) -> Micros | None:
    try:
        return None if not text else parse_rfc3339(text)
    except ValueError:
        raise InvalidInputError(f"{name} is not an RFC 3339 time") from None


HANDLERS = [tile, proof_file, verifier, bundle]
