"""What anybody may ask a site: whether it honours the Global Privacy Control (W3C GPC, section 5)."""

from __future__ import annotations

from litestar import get

from cdp.api.auth import OPEN, allow
from cdp.api.injected import InjectedServices
from cdp.clock import rfc3339


@get("/.well-known/gpc.json", opt=allow(OPEN), sync_to_thread=True)
def gpc_support(services: InjectedServices) -> dict[str, bool | str]:
    """Tell whether ``Sec-GPC: 1`` opts out of anything, and since when these policies say so."""
    newest = services.policies.overview().history[0]
    return {
        "gpc": bool(services.bundle.signals.gpc.opts_out_of),
        "lastUpdate": rfc3339(newest.activated_at)[:10],
    }


HANDLERS = [gpc_support]
