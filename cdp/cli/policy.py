"""``cdp policy check`` and ``cdp keys status``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdp import policy
from cdp.cli.client import connected
from cdp.cli.options import AsJson
from cdp.cli.output import show_record
from cdp.settings import load

policies = typer.Typer(help="Policies: what data may be used for.", no_args_is_help=True)
keyring = typer.Typer(help="Encryption keys.", no_args_is_help=True)


@policies.callback()
def _policies() -> None:
    """Policies: what data may be used for."""


@policies.command("check")
def check(
    folder: Annotated[Path | None, typer.Argument(help="CDP_POLICIES_DIR unless given.")] = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Read a folder of policies; the first mistake is named with its file and line."""
    bundle = policy.load(folder or load().policies_dir)
    found = {
        "bundle": bundle.sha256,
        "purposes": len(bundle.purposes),
        "destinations": len(bundle.destinations),
        "rules": len(bundle.rules),
        "declared_traits": len(bundle.fields.traits),
        "declared_properties": len(bundle.fields.properties),
    }
    show_record(found, as_json=as_json)


@keyring.callback()
def _keyring() -> None:
    """Encryption keys."""


@keyring.command("status")
def status(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Show the versions of the key-encryption key."""
    with connected() as api:
        show_record(api.get("/keyring"), as_json=as_json)
