"""The archive of what is kept of a person: how far it is, the archive itself, and the link to send them.

The routes *are* the purpose: a caller's key must carry ``rights``. Each use is on record with the person as
its
subject. An archive is handed over whole: a range is not asked for twice, as every handing over is recorded.
"""

from __future__ import annotations

from typing import Any

from litestar import get, head, post
from litestar.params import FromPath
from litestar.response import Stream

from cdp.api.auth import allow
from cdp.api.injected import InjectedCaller, InjectedServices
from cdp.clock import rfc3339
from cdp.rights import ARCHIVE_HEADERS, Archive

PURPOSE = "rights"
_OFFICER = allow("officer")
_PLACE = "/rights/requests/{request_id:str}/archive"


@get(_PLACE, opt=_OFFICER, sync_to_thread=True)
def fetch_archive(services: InjectedServices, caller: InjectedCaller, request_id: FromPath[str]) -> Stream:
    """Hand the archive of a request over, as a zip file."""
    caller.state(PURPOSE)
    found = services.archives.download(caller.actor, request_id)
    headers = {**ARCHIVE_HEADERS, "Content-Length": str(found.size)}
    return Stream(found.pieces, media_type="application/zip", headers=headers)


@head(_PLACE, opt=_OFFICER, sync_to_thread=True)
def peek_archive(services: InjectedServices, caller: InjectedCaller, request_id: FromPath[str]) -> None:
    """Say whether there is an archive; nothing is handed over."""
    caller.state(PURPOSE)
    services.archives.status(caller.actor, request_id)


@get(_PLACE + "/status", opt=_OFFICER, sync_to_thread=True)
def archive_status(
    services: InjectedServices, caller: InjectedCaller, request_id: FromPath[str]
) -> dict[str, Any]:
    """Show how far the archive of a request is."""
    caller.state(PURPOSE)
    return archive(services.archives.status(caller.actor, request_id))


@post(_PLACE + "/link", opt=_OFFICER, sync_to_thread=True)
def make_archive_link(
    services: InjectedServices, caller: InjectedCaller, request_id: FromPath[str]
) -> dict[str, Any]:
    """Make the link by which the person fetches their archive, to be sent to an address that they proved."""
    caller.state(PURPOSE)
    url, expires_at = services.archives.link(caller.actor, request_id)
    return {"url": url, "expires_at": rfc3339(expires_at)}


def archive(found: Archive) -> dict[str, Any]:
    """Return an archive as REST shows it; nothing of what is in it."""
    return {
        "request": found.request_id,
        "kind": found.kind,
        "state": found.state,
        "done": found.done,
        "total": found.total,
        "bytes": found.bytes,
        "sha256": found.sha256 or None,
        "ready_at": None if found.ready_at is None else rfc3339(found.ready_at),
        "expires_at": rfc3339(found.expires_at),
    }


HANDLERS = [fetch_archive, peek_archive, archive_status, make_archive_link]
