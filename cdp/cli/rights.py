"""``cdp rights …``: what people ask for about their own data."""

from __future__ import annotations

import typer

from cdp.cli.client import connected
from cdp.cli.options import AsJson
from cdp.cli.output import show_list

rights = typer.Typer(help="Requests of people about their own data.", no_args_is_help=True)
_COLUMNS = ("id", "kind", "state", "opened_at", "due_at", "channel", "profile")


@rights.callback()
def group() -> None:
    """Requests of people about their own data."""


@rights.command("list")
def list_requests(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """List requests with the day by which each is answered, newest first."""
    with connected() as api:
        show_list(api.items("/rights/requests"), _COLUMNS, as_json=as_json)
