"""``python -m cdp.beside``: prepares events for the server that started it, asked through its standard input.

Not for people: ``cdp serve`` starts as many as ``CDP_PREPARERS`` says.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

import structlog

from cdp.beside.prepare import preparing
from cdp.beside.process import configure_logging
from cdp.ingest import apart
from cdp.settings import load

log = structlog.get_logger()


def main() -> None:
    """Answer until the server that started this one has ended."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the server drains first; this process ends with its input
    taken = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that nothing printed gets between the answers
    settings = load()
    configure_logging(settings.log_level)
    try:
        with suppress(BrokenPipeError), preparing(settings) as answer:
            apart.answer_all(sys.stdin.buffer, taken, answer)
    except Exception as error:  # noqa: BLE001  # messages may hold values
        log.error("events cannot be prepared beside", error=type(error).__name__)  # noqa: TRY400  # likewise
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
