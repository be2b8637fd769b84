"""``cdp worker``: what is done beside a server, in processes of their own.

It keeps the warehouse current, so that mirroring does not take turns with ingest in one interpreter. Where
``CDP_INTAKE`` names a stream it is also what consumes it. ``cdp serve`` starts one; more may run, on the same
data directory or on other machines: mirrors of one directory wait for each other, and of a stream each takes
what no other has in hand.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Annotated

import typer
from prometheus_client import start_http_server

from cdp.app import calm_collector, configure_logging, consuming, mirror_task
from cdp.settings import load

_LOOK_SECONDS = 1.0


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(worker)


def worker(
    mirror: Annotated[bool, typer.Option(help="Keep the warehouse of the data directory current.")] = True,  # noqa: FBT002  # a flag
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of this machine that answers with metrics; 0: none.")
    ] = 0,
) -> None:
    """Keep the warehouse current, and consume a stream, until interrupted or its starter has ended."""
    parent = os.getppid()
    settings = load()
    configure_logging(settings.log_level)
    if metrics_port:
        start_http_server(metrics_port, addr="127.0.0.1")
    if settings.intake == "direct" and mirror:
        with mirror_task(settings) as task, calm_collector():
            task.run_while(lambda: os.getppid() == parent)
        return
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    with consuming(settings, mirror=mirror):
        while os.getppid() == parent and not ending.wait(_LOOK_SECONDS):
            pass
