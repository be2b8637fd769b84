"""``cdp match …``: find people who are probably one by their traits. Prints numbers, never a value."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from cdp.cli.client import Api, connected
from cdp.cli.options import AsJson
from cdp.cli.output import progress, show_list, show_record
from cdp.errors import CdpError

matching = typer.Typer(help="Find people who are probably one.", no_args_is_help=True)
_COLUMNS = ("run", "state", "records", "excluded", "pairs", "linked", "queued", "started_at", "finished_at")
_LOOK_SECONDS = 0.2
_NEXT = "what it linked stays, and the next run goes on"
_EARLY = {
    "failed": f"the run failed; the server's log names the cause; {_NEXT}",
    "interrupted": f"the run ended with its server; {_NEXT}",
    "policies_changed": f"other policies came in force, so the run ended; {_NEXT}",
    "denied": "the policies, or the switch of the destination controller, no longer permit matching, so the"
    f" run ended; {_NEXT} once they do",
}


@matching.command("run")
def run(
    full: Annotated[bool, typer.Option("--full", help="Train anew, compare everybody.")] = False,  # noqa: FBT002  # a flag
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Link nobody, only count.")] = False,  # noqa: FBT002  # a flag
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Compare people's traits; link who is surely one, put before a steward who may be.

    Without --full, those who are new or changed since the last run are compared with everybody, by the model
    that the last full run learned. Breaking off leaves nothing half: a running server goes on with the run,
    without one it ends at its next step and the next run goes on.
    """
    with connected() as api:
        started = api.post("/match/runs", {"full": full, "dry_run": dry_run})
        try:
            found = _followed(api, started["run"])
        except KeyboardInterrupt:
            raise CdpError(
                "interrupted; a running server goes on with the run, without one it ends at its next step:"
                " `cdp match list`"
            ) from None
    shown = {name: found[name] for name in _COLUMNS}
    show_record(found if as_json else shown, as_json=as_json)
    if found["state"] in _EARLY:
        raise CdpError(_EARLY[found["state"]])


@matching.command("list")
def list_runs(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """List runs, the newest first."""
    with connected() as api:
        show_list(api.items("/match/runs"), _COLUMNS, as_json=as_json)


def _followed(api: Api, number: int) -> dict[str, Any]:
    """Return a run when it has ended, showing how far it is until then."""
    with progress() as shown:
        task = shown.add_task("matching", total=None)
        while True:
            found: dict[str, Any] = api.get(("match", "runs", str(number)))
            if found["state"] != "running":
                return found
            step = found["progress"]
            if step is not None:
                total = step["total"] or None
                shown.update(task, description=step["step"], completed=step["done"], total=total)
            time.sleep(_LOOK_SECONDS)
