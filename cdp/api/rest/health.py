"""Is it alive, is it ready, what has it done: open to ask, without data.

Ready means: the store can be written, keys can be reached and made, the policies are loaded, what restrains
can be journalled, a restored database has had its journal replayed, none of their disks is full, and the
intake takes deliveries, as a server that ends does not. ``/metrics`` answers to this machine and private
networks only. Both below ``/api/v1`` and at the root, where probes look for them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import partial
from typing import Any

import prometheus_client
from litestar import Request, Response, get

from cdp.api.auth import ALWAYS, allow
from cdp.api.injected import InjectedServices
from cdp.errors import CdpError, NotPermittedError


@get("/health/live", opt=allow(ALWAYS), sync_to_thread=False)
def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@get("/health/ready", opt=allow(ALWAYS), sync_to_thread=True)
def ready(services: InjectedServices) -> Response[dict[str, Any]]:
    """Everything that a call needs can be reached; else 503 with what cannot."""
    checks: dict[str, tuple[Callable[[], object], ...]] = {
        "store": (services.store.check_room, partial(services.committer.reserve, "identity_no", 0)),
        "keys": (services.keyring.check,),
        "policies": (lambda: services.bundle.sha256,),
        "journal": (services.recovery.check, services.journal.check_room),
        "intake": (services.writer.check, services.intake.check),
    }
    state = {name: all(map(_answers, parts)) for name, parts in checks.items()}
    fine = all(state.values())
    body = {"status": "ready" if fine else "not ready", "checks": state}
    return Response(body, status_code=200 if fine else 503)


def _answers(check: Callable[[], object]) -> bool:
    try:
        check()
    except CdpError:
        return False
    return True


@get("/metrics", opt=allow(ALWAYS), sync_to_thread=False, media_type="text/plain")
def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the process's counters in Prometheus text format."""
    if not _is_near(request.client.host if request.client else ""):
        raise NotPermittedError("metrics answer to private networks only")
    content_type = prometheus_client.CONTENT_TYPE_LATEST
    return Response(prometheus_client.generate_latest(), media_type=content_type)


def _is_near(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private


HANDLERS = [live, ready, metrics]
