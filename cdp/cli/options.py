"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Purpose = Annotated[
    str, typer.Option(help="What the data is read for; recorded. Needed unless the key has just one.")
]
