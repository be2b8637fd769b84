"""What browsers' clients fetch before they send, and what they send beside events.

The settings name this server and nothing else: no destination is loaded into the page, as what leaves is
decided at the gate. They hold no consent categories either, by which the client would hold events back: a
refusal is to be heard. Measurements of the clients themselves are read and let go, and no cookie is set for
a client that asks for one: it keeps its own, as long as the browser lets it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from litestar import Request, Router, get, post
from litestar.params import FromPath

from cdp.access import Source
from cdp.api.auth import OPEN, WRITE_KEY, allow
from cdp.api.injected import InjectedServices
from cdp.api.request import read_within
from cdp.api.rest.cors import CrossOrigin
from cdp.api.rest.ingest import source_of
from cdp.errors import NotAuthenticatedError, NotFoundError


@get("/v1/projects/{write_key:str}/settings", opt=allow(WRITE_KEY))
async def segment(
    request: Request[Any, Any, Any], services: InjectedServices, write_key: FromPath[str]
) -> dict[str, Any]:
    """Tell analytics.js where to send; 404 for a write key that is no browser's, and it does not start."""
    try:
        await source_of(request, services, query_key=write_key)
    except NotAuthenticatedError:
        raise NotFoundError("no source has this write key, or it is disabled") from None
    return _segment_settings(write_key, services.settings.public_url)


@get("/sourceConfig", opt=allow(WRITE_KEY))
async def rudder(request: Request[Any, Any, Any], services: InjectedServices) -> dict[str, Any]:
    """Tell Rudder's browser SDK that its source is there and has no destinations to load."""
    write_key = request.query_params.get("writeKey", "")
    source = await source_of(request, services, query_key=write_key)
    return _rudder_config(source, write_key, services.settings.workspace)


@post(["/v1/m", "/rsaMetrics", "/rsaRequest"], opt=allow(OPEN), status_code=200)
async def unused(request: Request[Any, Any, Any], services: InjectedServices) -> dict[str, bool]:
    """Take a client's measurements of itself, or its wish for a cookie, and do nothing with them."""
    await read_within(request, services.settings.max_body_bytes)
    return {"success": True}


def _segment_settings(write_key: str, public_url: str) -> dict[str, Any]:
    """Return the least that loads analytics.js; a second integration would make it fetch code."""
    url = urlsplit(public_url)
    everything = {"__default": {"enabled": True, "integrations": {}}}
    return {
        "integrations": {
            "Segment.io": {
                "apiKey": write_key,
                "apiHost": f"{url.netloc}{url.path.rstrip('/')}/v1",
                "protocol": url.scheme,
                "addBundledMetadata": True,
                "unbundledIntegrations": [],
                "maybeBundledConfigIds": {},
            }
        },
        "plan": {"track": everything, "identify": everything, "group": everything},
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "remotePlugins": [],
        "edgeFunction": {},
        "legacyVideoPluginsEnabled": False,
        "metrics": {"sampleRate": 0},
    }


def _rudder_config(source: Source, write_key: str, workspace: str) -> dict[str, Any]:
    off = {"enabled": False}
    return {
        "source": {
            "id": str(source.source_id),
            "name": source.name,
            "writeKey": write_key,
            "enabled": True,
            "workspaceId": workspace,
            "config": {"statsCollection": {"errors": off, "metrics": off}},
            "destinations": [],
            "connections": [],
        }
    }


HANDLERS = [Router("/", route_handlers=[segment, rudder, unused], middleware=[CrossOrigin()])]
