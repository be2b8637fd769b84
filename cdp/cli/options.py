"""Options that several commands share."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Literal

import typer

from cdp.errors import InvalidInputError

# What the platform's own types say, which are not imported here: commands start without the platform.
Format = Literal["jsonl", "csv", "parquet"]
ListKind = Literal["white", "grey", "black"]


class KeyRole(StrEnum):
    """What an API key may do (Typer takes lists of enums, not of literals)."""

    MARKETER = "marketer"
    DESTINATION = "destination"
    STEWARD = "steward"
    OFFICER = "officer"
    ADMIN = "admin"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Purpose = Annotated[
    str, typer.Option(help="What the data is read for; recorded. Needed unless the key has just one.")
]


def read_value() -> str:
    """Return an identifier's value from standard input: arguments stand in histories and process lists.

    :raises InvalidInputError: it is no UTF-8 text.
    """
    if sys.stdin.isatty():
        sys.stderr.write("value: ")
    try:
        line = sys.stdin.readline()
        line.encode()  # in the C locale bytes that are no UTF-8 come through as surrogates
    except UnicodeError:
        raise InvalidInputError("standard input is not UTF-8 text") from None
    return line.rstrip("\r\n")
