"""The HTTP application around a platform, whose writer and worker run while it is started."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import structlog
from litestar import Litestar, Router

from cdp.api import OPEN, Buckets, Services, allow, create_app
from cdp.app.wiring import Platform, build
from cdp.console import Confirmations, PreferencePage, router
from cdp.settings import Settings, load

_OBJECTS = 100_000, 5, 2  # made and not freed, before Python looks for cycles: among all, after a million
_PAGE_TRIES = 30  # a minute, for one link or for what opens nothing from one address


def create(settings: Settings | None = None, *, mirror_apart: bool = False) -> Litestar:
    """Make the HTTP application of the environment's settings, or of those given."""
    chosen = settings or load()
    configure_logging(chosen.log_level)
    return application(build(chosen, mirror_apart=mirror_apart))


@contextmanager
def calm_collector() -> Iterator[None]:
    """Let Python look for cycles seldom meanwhile, and never among what was there at the start.

    Events and rows are many, short-lived and in no cycle; looking through them took a third of an export.
    What was there is looked at again after it, so that extension modules find everything freed when the
    process ends.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_OBJECTS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def application(platform: Platform) -> Litestar:
    """Make the HTTP application around a platform, whose writer and worker run while it is started."""
    meanwhile = ExitStack()

    def start() -> None:
        meanwhile.enter_context(calm_collector())
        platform.writer.start()
        platform.services.recovery.when_ready(platform.worker.start)

    def stop() -> None:
        platform.writer.stop()
        platform.worker.stop()
        platform.close()
        meanwhile.close()

    pages = preference_pages(platform.services)
    return create_app(platform.services, extra=[pages], on_startup=[start], on_shutdown=[stop])


def preference_pages(services: Services) -> Router:
    """Make the pages that people reach by a link: open to whoever holds one, as the link is the key."""
    page = PreferencePage(
        services.committer,
        services.keyring,
        services.links,
        services.identity,
        services.ledger,
        services.gate,
        services.rights,
        services.receipts,
        services.acts,
        lambda: services.bundle,
        services.clock,
    )
    confirmations = Confirmations(
        services.store,
        services.links,
        services.identity,
        services.ledger,
        services.consent_intake,
        lambda: services.bundle,
        services.clock,
    )
    tries = Buckets(_PAGE_TRIES, _PAGE_TRIES / 60)
    controller = services.settings.controller_name
    return router(page, confirmations, controller=controller, take=tries.take, opt=allow(OPEN))


def configure_logging(level: str) -> None:
    """Log JSON lines to standard error; only names, types and numbers are ever put into them."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
