"""``cdp rebuild``."""

from __future__ import annotations

import typer

from cdp.cli.client import connected
from cdp.cli.options import AsJson
from cdp.cli.output import show_record


def register(app: typer.Typer) -> None:
    """Add the plain commands to the app."""
    app.command("rebuild")(rebuild)


def rebuild(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Make everything derived anew from the store: the warehouse and the segments' members."""
    with connected() as api:
        show_record(api.post("/rebuild"), as_json=as_json)
