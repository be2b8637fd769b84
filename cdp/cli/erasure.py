"""``cdp rights certificate`` and ``cdp rights readmit``: what follows an erasure.

An identifier comes in a file, so that it stands in no history and no list of processes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cdp.cli.client import connected
from cdp.cli.output import say
from cdp.errors import ConflictError, InvalidInputError


def register(rights: typer.Typer) -> None:
    """Add the commands to the group."""
    rights.command("certificate")(certificate)
    rights.command("readmit")(readmit)


def certificate(
    request: Annotated[str, typer.Argument(help="The id of a request for erasure.")],
    out: Annotated[Path, typer.Option(help="A file that does not exist yet.")],
) -> None:
    """Fetch the certificate of an erasure, once: hand the file to the person, and delete it."""
    try:
        file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConflictError(f"{out} exists; name another file") from None
    except OSError as error:
        raise InvalidInputError(f"{out} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(file, "wb") as target, connected() as api:
            found = api.call("GET", ("rights", "requests", request, "certificate"))
            target.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    except BaseException:
        out.unlink()
        raise
    say(f"the certificate is in {out}; it can be fetched once")


def readmit(
    kind: Annotated[str, typer.Option("--type", help="The type of an identifier that was erased.")],
    value_file: Annotated[Path, typer.Option(help="A file with its value; - is standard input.")],
) -> None:
    """Let somebody who was erased come back. What was erased stays so."""
    try:
        held = sys.stdin.buffer.read() if str(value_file) == "-" else value_file.read_bytes()
        value = held.decode().strip()
    except OSError as error:
        raise InvalidInputError(f"{value_file} cannot be read: {error.strerror}") from None
    except UnicodeError:
        raise InvalidInputError(f"{value_file} is not UTF-8 text") from None
    with connected() as api:
        done = api.post("/rights/readmissions", {"identifier": {"type": kind, "value": value}})
    say("may come back" if done["readmitted"] else "nothing keeps them out")
