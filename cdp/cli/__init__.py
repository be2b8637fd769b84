"""The command line: ``cdp …``, also ``python -m cdp``.

Every command but ``init``, ``serve``, ``migrate``, ``doctor`` and ``demo`` is a client of the REST API
(``client.py``), so that one set of rules decides what a key may do. Exit codes: 0 done, 1 refused or
failed with one line on standard error, 2 wrong usage. Whatever file a command makes is its owner's alone.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from cdp.cli.commands import app
from cdp.errors import CdpError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command that the arguments name, and exit."""
    os.umask(0o077)
    if any(map(_has_surrogate, sys.argv)):  # so do bytes come through that are no text
        _fail("an argument is not UTF-8 text")
    try:
        app()
    except CdpError as error:
        _fail(error.message)
    except KeyboardInterrupt:
        _fail("interrupted")
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone; there is nobody to tell
        raise SystemExit(1) from None
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        _fail(f"{error.strerror or type(error).__name__}{place}")
    except Exception as error:  # noqa: BLE001  # one clear line, whatever it is; messages may hold values
        frame = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{Path(frame.filename).name}:{frame.lineno}"
        _fail(f"an unforeseen {type(error).__name__} at {at}; please report it with what you did")


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= sign <= "\udfff" for sign in text)


def _fail(message: str) -> None:
    sys.stderr.write("cdp: " + " ".join(message.split()) + "\n")
    raise SystemExit(1)
