"""``cdp rights …``: what people ask for about their own data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cdp.cli.client import Api, connected
from cdp.cli.options import AsJson
from cdp.cli.output import new_file, progress, say, show_list
from cdp.errors import CdpError, NotFoundError

rights = typer.Typer(help="Requests of people about their own data.", no_args_is_help=True)
_LOOK_SECONDS = 0.5
_COLUMNS = ("id", "kind", "state", "opened_at", "due_at", "channel", "profile")


@rights.callback()
def group() -> None:
    """Requests of people about their own data."""


@rights.command("list")
def list_requests(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """List requests with the day by which each is answered, newest first."""
    with connected() as api:
        show_list(api.items("/rights/requests"), _COLUMNS, as_json=as_json)


@rights.command("archive")
def archive(
    request: str,
    out: Annotated[Path, typer.Option(help="Write it into this new file, readable by its owner only.")],
) -> None:
    """Fetch the archive of a request for access or portability, once it is built.

    The file holds somebody's data in clear: hand it to them, and delete it.
    """
    with new_file(out) as file, connected() as api:
        found = _built(api, request)
        file.write(api.data(("rights", "requests", request, "archive")))
    say(f"written to {out}: {found['bytes']} bytes, SHA-256 {found['sha256']}")


def _built(api: Api, request: str) -> dict[str, Any]:
    """Return the archive of a request when it is ready, showing how far it is until then."""
    with progress() as shown:
        task = shown.add_task("building", total=None)
        while True:
            asked: dict[str, Any] = api.get(("rights", "requests", request))
            try:
                found: dict[str, Any] = api.get(("rights", "requests", request, "archive", "status"))
            except NotFoundError:
                if asked["state"] != "in_progress":
                    raise
            else:
                if found["state"] == "ready":
                    return found
                shown.update(task, completed=found["done"], total=found["total"] or None)
            if asked["kind"] not in {"access", "portability"}:
                raise CdpError(f"a request for {asked['kind']} has no archive")
            time.sleep(_LOOK_SECONDS)
