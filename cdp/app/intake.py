"""The intake that ``CDP_INTAKE`` names, and what a worker runs that consumes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from cdp.app.parts import stream_at
from cdp.app.schedule import beside_writing, mirror_task
from cdp.app.wiring import build
from cdp.beside import calm_collector
from cdp.clock import Clock
from cdp.errors import ConfigurationError
from cdp.intake import Consumer, Envelopes, open_stream
from cdp.settings import Settings
from cdp.worker import Worker


@contextmanager
def consuming(settings: Settings, clock: Clock | None = None, *, mirror: bool = True) -> Iterator[None]:
    """Run what ``cdp worker`` runs beside a stream: its consumer, the writer behind it, and the mirror.

    Leaving the block drains: what was fetched is committed and acknowledged. Nothing is fetched before a
    restored database is in order.

    :param mirror: keep the warehouse of the data folder current, too.
    """
    address = stream_at(settings)
    if address is None:
        raise ConfigurationError("CDP_INTAKE names no stream to consume")
    with ExitStack() as opened:
        if mirror:
            task = opened.enter_context(mirror_task(settings))
            opened.callback(task.stop)
            task.start()
        platform = opened.enter_context(closing(build(settings, clock)))
        services = platform.services
        opened.enter_context(calm_collector())
        stream = opened.enter_context(closing(open_stream(address)))
        envelopes = Envelopes(services.keyring, services.clock)
        consumer = Consumer(stream, envelopes, services.writer, services.pipeline, services.clock)
        beside = Worker(beside_writing(services))
        beside.start()
        opened.callback(beside.stop)
        services.writer.start()
        opened.callback(services.writer.stop)
        opened.callback(consumer.stop)
        services.recovery.when_ready(consumer.start)
        yield
