"""``cdp export``: ask the gate for a release, say what it decided, and fetch it if asked to.

The data itself is the destination's: no operator may pull it. ``--out`` fetches with the destination's own
key when the command acts as that; else it makes a key of role ``destination`` for this one destination and
purpose, fetches with it and revokes it again; making, fetching and revoking all stand in the audit log. That
needs a key that may make keys (role admin), which is checked before anything is exported.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from cdp.cli.client import Api, connected
from cdp.cli.options import AsJson, Format
from cdp.cli.output import new_file, say, show_json, show_list
from cdp.errors import NotPermittedError


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("export")(export)


def export(
    segment: str,
    destination: Annotated[str, typer.Option(help="Who receives it.")],
    purpose: Annotated[str, typer.Option(help="What it is for.")],
    format_: Annotated[Format, typer.Option("--format", help="What the release is written as.")] = "jsonl",
    field: Annotated[list[str] | None, typer.Option(help="A field to ask for; repeatable.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, release nothing.")] = False,  # noqa: FBT002  # a flag
    out: Annotated[Path | None, typer.Option(help="Fetch the release into this new file.")] = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Release a segment to a destination for a purpose, and say who was withheld and why."""
    body = {
        "segment": segment,
        "destination": destination,
        "purpose": purpose,
        "format": format_,
        "mode": "full",
        "dry_run": dry_run,
    }
    if field:
        body["fields"] = field
    with ExitStack() as stack:
        # The file comes first: a name that is taken must not cost a fetch, which counts as delivery.
        file = None if out is None or dry_run else stack.enter_context(new_file(out))
        api = stack.enter_context(connected())
        own = file is not None and _is_destination(api, destination, purpose)
        decided = api.post("/exports", body)
        if file is not None:
            with nullcontext(api) if own else _as_destination(api, destination, purpose) as fetcher:
                file.write(fetcher.data(("exports", decided["id"], "data")))
    if as_json:
        show_json(decided)
        return
    _show(decided)
    if file is not None:
        say(f"written to {out}")


def _is_destination(api: Api, destination: str, purpose: str) -> bool:
    """True when the caller is the destination; False when it can make a key of it.

    :raises NotPermittedError: neither.
    """
    key = api.get("/key")
    if key["destination"] == destination:
        return True
    if "admin" not in key["roles"] or not {purpose, "*"} & set(key["purposes"]):
        raise NotPermittedError(
            "--out needs a key of role admin that carries the purpose, or the destination's own key; nothing"
            " was exported. Without --out the export is made, and the destination fetches it"
        )
    return False


@contextmanager
def _as_destination(api: Api, destination: str, purpose: str) -> Iterator[Api]:
    with destination_key(api, destination, purpose) as key:
        yield api.as_key(key)


@contextmanager
def destination_key(api: Api, destination: str, purpose: str) -> Iterator[str]:
    """Make a key of a destination that lives as long as the block."""
    name = f"export-{secrets.token_hex(4)}"
    body = {"name": name, "roles": ["destination"], "destination": destination, "purposes": [purpose]}
    made = api.post("/keys", body)
    try:
        yield str(made["key"])
    finally:
        api.call("DELETE", ("keys", name))


def _show(decided: dict[str, object]) -> None:
    if decided["id"] is None:
        say(f"dry run: {decided['released']} would be released")
    else:
        say(f"export {decided['id']}: {decided['status']}, {decided['released']} released")
    withheld = decided["withheld"]
    if isinstance(withheld, dict) and withheld:
        rows = [{"reason": reason, "withheld": number} for reason, number in withheld.items()]
        show_list(rows, ("reason", "withheld"), as_json=False)
    fields = decided["fields"]
    if isinstance(fields, dict) and fields:
        rows = [{"field": name, "transform": kind} for name, kind in fields.items()]
        show_list(rows, ("field", "transform"), as_json=False)
    say(f"policy bundle {decided['bundle']}, audit entry {decided['audit_index']}")
