"""``cdp rebuild`` and ``cdp quarantine …``."""

from __future__ import annotations

from typing import Annotated

import typer

from cdp.cli.client import connected
from cdp.cli.options import AsJson
from cdp.cli.output import show_list, show_record

quarantine = typer.Typer(help="Messages that could not become events.", no_args_is_help=True)
_COLUMNS = ("id", "kind", "reason", "cause", "source", "received_at")
_Kind = Annotated[str, typer.Option(help="Only this kind.")]


def register(app: typer.Typer) -> None:
    """Add the plain commands to the app."""
    app.command("rebuild")(rebuild)


def rebuild(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Make everything derived anew from the store: the warehouse and the segments' members."""
    with connected() as api:
        show_record(api.post("/rebuild"), as_json=as_json)


@quarantine.command("list")
def list_quarantined(kind: _Kind = "", as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """List what is in quarantine, with its cause."""
    with connected() as api:
        show_list(api.items("/quarantine", kind=kind), _COLUMNS, as_json=as_json)


@quarantine.command("replay")
def replay(kind: _Kind = "", as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Send quarantined messages through the pipeline again; what fails again stays."""
    with connected() as api:
        show_record(api.post("/quarantine/replay", {"kind": kind}), as_json=as_json)
