"""``cdp identity conflicts``: where sources contradict each other about somebody."""

from __future__ import annotations

from typing import Annotated

import typer

from cdp.cli.client import connected
from cdp.cli.options import AsJson, Purpose
from cdp.cli.output import show_list

_Trait = Annotated[str | None, typer.Option("--trait", help="Only of this trait.")]


def conflicts(trait: _Trait = None, purpose: Purpose = "data_quality", as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """List traits about which sources differ, and whose value holds by which rule."""
    with connected() as api:
        items = list(api.items("/identity/conflicts", stating=purpose, trait=trait))
    if as_json:
        show_list(items, (), as_json=True)
        return
    rows = [
        {**item, **word, "holds": "yes" if word["holds"] else ""} for item in items for word in item["values"]
    ]
    columns = ("profile", "trait", "source", "value", "observed_at", "holds", "rule")
    show_list(rows, columns, as_json=False)


def register(group: typer.Typer) -> None:
    """Add the command to ``cdp identity``."""
    group.command("conflicts")(conflicts)
