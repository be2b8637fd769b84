"""Erasure: the certificate of one that is done, and the word that lets somebody come back.

The routes *are* the purpose: a caller's key must carry ``rights``, and nothing else is stated.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody

from cdp.api.auth import allow
from cdp.api.injected import InjectedCaller, InjectedServices
from cdp.api.rest.identifiers import IdentifierBody

_PURPOSE = "rights"
_OFFICER = allow("officer")


class ReadmissionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whoever was erased with an identifier, and is to be let in again."""

    identifier: IdentifierBody


@get("/rights/requests/{request_id:str}/certificate", opt=_OFFICER, sync_to_thread=True)
def certificate(
    services: InjectedServices, caller: InjectedCaller, request_id: FromPath[str]
) -> dict[str, Any]:
    """Hand over the certificate of an erasure, once: it holds secrets that nobody keeps after that."""
    caller.state(_PURPOSE)
    request = services.rights.find(caller.actor, request_id)
    return services.erasure.certificate(caller.actor, request)


@post("/rights/readmissions", opt=_OFFICER, sync_to_thread=True)
def readmit(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[ReadmissionBody]
) -> dict[str, Any]:
    """Let whoever was erased with an identifier come back; what was erased does not."""
    caller.state(_PURPOSE)
    given = [(data.identifier.type, data.identifier.value)]
    with services.store.reading() as connection:
        (forms,) = services.identity.indexes_of(connection, given)
    indexes = [index for indexes in forms for index in indexes]
    return {"readmitted": services.recovery.readmit(caller.actor, indexes)}


HANDLERS = [certificate, readmit]
