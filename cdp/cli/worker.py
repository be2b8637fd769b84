"""``cdp worker``: keeps the warehouse current beside a server, in a process of its own.

``cdp serve`` starts one, so that mirroring does not take turns with ingest in one interpreter; more than
one may run on a data directory, they wait for each other. It only reads the database.
"""

from __future__ import annotations

import os

import typer

from cdp.app import configure_logging, mirror_task
from cdp.settings import load


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(worker)


def worker() -> None:
    """Keep the warehouse current until interrupted, or until the process that started it has ended."""
    parent = os.getppid()
    settings = load()
    configure_logging(settings.log_level)
    with mirror_task(settings) as task:
        task.run_while(lambda: os.getppid() == parent)
