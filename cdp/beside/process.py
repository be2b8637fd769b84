"""What every process of ours does for itself: how it logs, and how it looks for what is not used any more."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

_OBJECTS = 100_000, 5, 2  # made and not freed, before Python looks for cycles: among all, after a million


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
