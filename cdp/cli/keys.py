"""``cdp keys status | rotate``."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from cdp.cli.client import Api, connected
from cdp.cli.options import AsJson
from cdp.cli.output import say, show_json, show_list

keyring = typer.Typer(help="Encryption keys.", no_args_is_help=True)
_COLUMNS = ("version", "state", "person", "proof", "buckets", "created_at", "rewrapped_at", "destroy_at")
_POLL_SECONDS = 1.0


@keyring.command("status")
def status(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Show the root, each version of the key-encryption key, and how many keys lie under it."""
    with connected() as api:
        _show(api.get("/keyring"), as_json=as_json)


@keyring.command("rotate")
def rotate(
    wait: Annotated[bool, typer.Option(help="Wait until everything is re-wrapped.")] = True,  # noqa: FBT002  # a flag
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Make a new key-encryption key and re-wrap everything under it, beside ingest; go on with one begun."""
    with connected() as api:
        found = api.get("/keyring")
        if not _is_rewrapping(found):
            found = api.post("/keyring/rotate")
        if wait:
            found = _follow(api, found)
        _show(found, as_json=as_json)


def _follow(api: Api, found: Any) -> Any:
    """Show the progress on standard error until nothing lies under an old version."""
    try:
        with Progress(console=Console(file=sys.stderr), transient=True) as progress:
            task = progress.add_task("re-wrapping keys")
            while _is_rewrapping(found):
                held = {version["version"]: _keys(version) for version in found["versions"]}
                progress.update(task, total=sum(held.values()), completed=held[found["current"]])
                time.sleep(_POLL_SECONDS)
                found = api.get("/keyring")
    except KeyboardInterrupt:
        say("interrupted; a running server goes on with it, without one the next `cdp keys rotate` does")
        raise typer.Exit(1) from None
    return found


def _is_rewrapping(found: Any) -> bool:
    return any(version["state"] == "rewrapping" for version in found["versions"])


def _keys(version: Any) -> int:
    return int(version["buckets"]) + sum(map(int, version["deks"].values()))


def _show(found: Any, *, as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    say(f"root: {found['provider']}, {'answers' if found['answers'] else found['problem']}")
    rows = [{**version, "person": 0, "proof": 0, **version["deks"]} for version in found["versions"]]
    show_list(rows, _COLUMNS, as_json=False)
