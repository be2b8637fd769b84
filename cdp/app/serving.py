"""The HTTP application around a platform, whose writer and worker run while it is started."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial

from litestar import Litestar

from cdp.api import OPEN, Services, allow, attach, create_app
from cdp.app.wiring import Platform, build
from cdp.beside import calm_collector, configure_logging
from cdp.buckets import Buckets
from cdp.console import Confirmations, PreferencePage, Site, router
from cdp.errors import CdpError
from cdp.settings import Settings, load
from cdp.worker import Periodic

_REFUSALS_SECONDS = 60.0
_PAGE_TRIES = 30  # a minute, for one link or for what opens nothing from one address


def create(settings: Settings | None = None, *, mirror_apart: bool = False) -> Litestar:
    """Make the HTTP application of the environment's settings, or of those given."""
    chosen = settings or load()
    configure_logging(chosen.log_level)
    return application(build(chosen, mirror_apart=mirror_apart))


def application(platform: Platform) -> Litestar:
    """Make the HTTP application around a platform, whose writer and worker run while it is started."""
    app = routes(platform.services.settings.public_url)
    attach(app, platform.services)
    denials = app.state.denials
    app.state.update(
        {
            "platform": platform,
            "site": preference_site(platform.services, partial(denials.note, "link.unknown")),
            "refusals": Periodic("refusals", _REFUSALS_SECONDS, denials.flush),
        }
    )
    return app


def routes(public_url: str) -> Litestar:
    """Make the application without a platform: all that is the same for every one."""
    pages = router(allow(OPEN))  # open to whoever holds a link, as the link is the key
    return create_app(public_url, extra=[pages], on_startup=[_start], on_shutdown=[_stop])


def _start(app: Litestar) -> None:
    platform: Platform = app.state.platform
    app.state.meanwhile = ExitStack()
    app.state.meanwhile.enter_context(calm_collector())
    platform.writer.start()
    platform.services.recovery.when_ready(platform.worker.start)
    app.state.refusals.start()


def _stop(app: Litestar) -> None:
    platform: Platform = app.state.platform
    platform.writer.stop()
    platform.worker.stop()
    app.state.refusals.stop()
    with suppress(CdpError):
        app.state.denials.flush()
    platform.close()
    app.state.meanwhile.close()


def preference_site(services: Services, note: Callable[[str], None]) -> Site:
    """Make what the pages work with that people reach by a link."""
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
        services.archives,
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
    return Site(page, confirmations, services.archives, services.settings.controller_name, tries.take, note)
