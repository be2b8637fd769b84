"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import typer

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
