"""The HTTP application: every route, one guard, one error mapping."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.types import ControllerRouterHandler, LifespanHook, Message, Scope
from prometheus_client import Counter

from cdp.api.auth import Denials, Guard, provide_caller
from cdp.api.docs import openapi_config
from cdp.api.errors import EXCEPTION_HANDLERS
from cdp.api.graphql.schema import HANDLERS as GRAPHQL
from cdp.api.request import ApiRequest
from cdp.api.rest import (
    admin,
    audit,
    conflicts,
    consent_imports,
    consents,
    destinations,
    explore,
    exports,
    health,
    identity,
    ingest,
    keyring,
    matching,
    policies,
    preferences,
    profiles,
    quarantine,
    recovery,
    relink,
    replays,
    review,
    rights,
    segments,
    tags,
    well_known,
)
from cdp.api.services import Services

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_REQUESTS = Counter("cdp_http_requests", "HTTP requests answered", ["method", "route", "status"])


def create_app(
    services: Services,
    *,
    extra: Sequence[ControllerRouterHandler] = (),
    on_startup: Sequence[LifespanHook] = (),
    on_shutdown: Sequence[LifespanHook] = (),
) -> Litestar:
    """Build the application over ``services``.

    :param extra: further handlers (the console, ingest), under the same guard.
    """
    denials = Denials(services.committer)
    stages = (
        profiles,
        relink,
        replays,
        replays,
        identity,
        conflicts,
        matching,
        review,
        segments,
        tags,
        explore,
        exports,
        destinations,
        consents,
        consent_imports,
        preferences,
        rights,
        policies,
        audit,
        quarantine,
        recovery,
        admin,
        keyring,
        health,
    )
    routes = [handler for stage in stages for handler in stage.HANDLERS]
    return Litestar(
        route_handlers=[
            Router("/api/v1", route_handlers=routes, response_headers=_HEADERS),
            *health.HANDLERS,
            *well_known.HANDLERS,
            *GRAPHQL,
            *ingest.HANDLERS,
            *extra,
        ],
        guards=[Guard(services.access, denials, lambda: services.bundle.purposes, services.recovery.check)],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "denials": Provide(lambda: denials, sync_to_thread=False),
            "caller": Provide(provide_caller, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=openapi_config(services.settings.public_url),
        request_class=ApiRequest,
        before_send=[_count],
        logging_config=None,
        on_startup=list(on_startup),
        on_shutdown=list(on_shutdown),
    )


async def _count(message: Message, scope: Scope) -> None:
    if message["type"] == "http.response.start":
        method, route = scope.get("method", ""), scope.get("path_template") or "unknown"
        _REQUESTS.labels(method, route, message["status"]).inc()
