"""``cdp prepare``: prepares events for the server that started it, asked through its standard input.

Not for people: the server starts one where it has a core to spare (``CDP_PREPARERS``).
"""

from __future__ import annotations

import os
import signal
import sys

import typer

from cdp.app import configure_logging, preparing
from cdp.settings import load
from cdp.worker import answer_all


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(hidden=True)(prepare)


def prepare() -> None:
    """Answer until the server that started this one has ended."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the server drains first; this process ends with its input
    taken = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that nothing printed gets between the answers
    settings = load()
    configure_logging(settings.log_level)
    with preparing(settings) as answer:
        answer_all(sys.stdin.buffer, taken, answer)
