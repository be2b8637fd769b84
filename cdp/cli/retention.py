"""``cdp retention …`` and ``cdp hold …``: what goes when its period is over, and what is kept."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import typer

from cdp.cli.client import Api, connected
from cdp.cli.options import AsJson, read_value
from cdp.cli.output import progress, say, show_json, show_list

retention = typer.Typer(help="Deleting what is past its period.", no_args_is_help=True)
hold = typer.Typer(help="Legal holds: what is kept all the same.", no_args_is_help=True)
HoldReason = Literal["legal_claim", "regulator", "tax_audit", "investigation", "other"]
_RUNS = ("id", "dry_run", "state", "as_of", "done", "of", "identities", "counts")
_HOLDS = ("id", "profile", "categories", "reason", "reference", "placed_at", "lifted_at")
_LOOK_SECONDS = 0.5


@retention.command("run")
def run(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would go; delete nothing.")] = False,  # noqa: FBT002  # a flag
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Look through everything; it goes on in the server when this command is interrupted."""
    with connected() as api:
        ended = _follow(api, api.post("/retention/runs", {"dry_run": dry_run}))
    if as_json:
        show_json(ended)
        return
    verb = "would go" if dry_run else "are gone"
    say(f"{ended['state']}: data of {ended['identities']} identities of {ended['of']} looked at {verb}")
    for name, count in ended["counts"].items():
        say(f"  {name}: {count}")


def _follow(api: Api, run: Any) -> Any:
    """Show the progress on standard error until the run ends."""
    try:
        with progress() as shown:
            task = shown.add_task("looking for what is past its period")
            while run["state"] == "running":
                shown.update(task, total=run["of"], completed=run["done"])
                time.sleep(_LOOK_SECONDS)
                run = api.get(("retention", "runs", run["id"]))
    except KeyboardInterrupt:
        say("interrupted; a running server goes on with it")
        raise typer.Exit(1) from None
    return run


@retention.command("status")
def status(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """List the newest runs."""
    with connected() as api:
        show_list(iter(api.get("/retention/runs")["items"]), _RUNS, as_json=as_json)


@retention.command("stop")
def stop(run_id: str) -> None:
    """End a run where it stands; what it deleted is gone."""
    with connected() as api:
        stopped = api.post(("retention", "runs", run_id, "stop"))
    say(f"stopped at {stopped['done']} of {stopped['of']} identities")


@hold.command("place")
def place(
    reference: Annotated[str, typer.Argument(help="Of the file elsewhere that says why.")],
    reason: Annotated[HoldReason, typer.Option(help="Why.")],
    kind: Annotated[
        str, typer.Option("--type", help="Of an identifier; its value is read from standard input.")
    ] = "",
    everybody: Annotated[bool, typer.Option("--everybody", help="Of all people.")] = False,  # noqa: FBT002  # a flag
    category: Annotated[list[str] | None, typer.Option(help="Of which data; all without.")] = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Keep data from being deleted until the hold is lifted."""
    if everybody == bool(kind):
        raise typer.BadParameter("name either the --type of an identifier or --everybody")
    given: dict[str, Any] = {"reference": reference, "reason": reason, "categories": category or []}
    if kind:
        given["identifier"] = {"type": kind, "value": read_value()}
    with connected() as api:
        placed = api.post("/legal-holds", given)
    if as_json:
        show_json(placed)
    else:
        say(f"{placed['id']} keeps {', '.join(placed['categories'])} until `cdp hold lift {placed['id']}`")


@hold.command("lift")
def lift(hold_id: str) -> None:
    """End a hold: what it kept beyond its period goes with the next run."""
    with connected() as api:
        lifted = api.post(("legal-holds", hold_id, "lift"))
    say(f"{lifted['id']} was lifted")


@hold.command("list")
def list_holds(
    lifted: Annotated[bool, typer.Option("--lifted", help="Those that ended, too.")] = False,  # noqa: FBT002  # a flag
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """List the register, the newest first."""
    with connected() as api:
        found = api.get("/legal-holds", lifted="true" if lifted else None)
        show_list(iter(found["items"]), _HOLDS, as_json=as_json)
