"""The HTTP application: every route, one guard, one error mapping.

Invariant: the routes hold nothing of a platform; what they work with is the application's state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.types import ControllerRouterHandler, LifespanHook, Message, Scope
from prometheus_client import Counter
from structlog import get_logger

from cdp.api.auth import Connection, Denials, Guard, provide_caller, record_refusal
from cdp.api.docs import openapi_config
from cdp.api.errors import EXCEPTION_HANDLERS
from cdp.api.graphql.schema import HANDLERS as GRAPHQL
from cdp.api.reading import Reading
from cdp.api.request import ApiRequest
from cdp.api.rest import (
    admin,
    archives,
    audit,
    audit_public,
    audit_search,
    client_settings,
    conflicts,
    consent_imports,
    consents,
    counts,
    destinations,
    erasure,
    events,
    explore,
    exports,
    health,
    identity,
    imports,
    ingest,
    keyring,
    matching,
    opendsr,
    pixels,
    plans,
    policies,
    preferences,
    profiles,
    quarantine,
    recovery,
    relink,
    replays,
    reports,
    retention,
    review,
    rights,
    segments,
    tags,
    well_known,
)
from cdp.api.services import Services
from cdp.errors import CdpError, NotAuthenticatedError, NotPermittedError

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_log = get_logger("cdp.api")
_REQUESTS = Counter("cdp_http_requests", "HTTP requests answered", ["method", "route", "status"])


def create_app(
    public_url: str,
    *,
    extra: Sequence[ControllerRouterHandler] = (),
    on_startup: Sequence[LifespanHook] = (),
    on_shutdown: Sequence[LifespanHook] = (),
) -> Litestar:
    """Build the application: routes alone, which answer once ``attach`` gave them a platform.

    :param public_url: where the server is reached, for the documentation.
    :param extra: further handlers (the console), under the same guard.
    """
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
        imports,
        preferences,
        rights,
        retention,
        opendsr,
        archives,
        erasure,
        reports,
        policies,
        audit,
        audit_search,
        audit_public,
        quarantine,
        counts,
        recovery,
        admin,
        plans,
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
            *pixels.HANDLERS,
            *client_settings.HANDLERS,
            *events.HANDLERS,
            *opendsr.ROUTES,
            *extra,
        ],
        guards=[_guard],
        middleware=[Reading()],
        dependencies={
            "services": Provide(_services, sync_to_thread=False),
            "denials": Provide(_denials, sync_to_thread=False),
            "caller": Provide(provide_caller, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=openapi_config(public_url),
        request_class=ApiRequest,
        before_send=[_count],
        after_exception=[_refused],
        logging_config=None,
        on_startup=list(on_startup),
        on_shutdown=list(on_shutdown),
    )


def attach(app: Litestar, services: Services) -> None:
    """Have the application answer for ``services``; its attempts and refusals are counted from now on."""
    denials = Denials(services.committer)
    guard = Guard(
        services.access,
        denials,
        lambda: services.bundle.purposes,
        lambda: services.recovery.state.ready,
        services.recovery.check,
    )
    app.state.update({"services": services, "denials": denials, "guard": guard})


async def _guard(connection: Connection, handler: BaseRouteHandler) -> None:
    """Ask the guard: here where it looks nothing up, as for every event that is sent, else in a thread."""
    guard: Guard = connection.app.state.guard
    if not guard.lets_pass(connection, handler):
        await asyncio.to_thread(guard, connection, handler)


def _services(state: State) -> Services:
    return cast("Services", state.services)


def _denials(state: State) -> Denials:
    return cast("Denials", state.denials)


async def _refused(error: Exception, scope: Scope) -> None:
    """Put a refusal on record; where that fails it is a refusal all the same."""
    if not isinstance(error, NotAuthenticatedError | NotPermittedError):
        return
    denials = scope["litestar_app"].state.denials
    try:
        await asyncio.to_thread(record_refusal, error, scope, denials)
    except CdpError as failed:
        _log.warning("a refusal is not on record", error=type(failed).__name__)


async def _count(message: Message, scope: Scope) -> None:
    if message["type"] == "http.response.start":
        method, route = scope.get("method", ""), scope.get("path_template") or "unknown"
        _REQUESTS.labels(method, route, message["status"]).inc()
