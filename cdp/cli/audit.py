"""``cdp audit …``: who did what, and whether the log is still what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cdp.audit import Outcome
from cdp.cli.client import connected
from cdp.cli.options import AsJson
from cdp.cli.output import say, show_json, show_list
from cdp.errors import AuditError

audit = typer.Typer(help="The audit log.", no_args_is_help=True)
OriginReason = Literal["restored_backup", "damaged_database", "test"]
_COLUMNS = ("index", "at", "actor", "action", "outcome", "purpose", "destination", "counts", "people")


@audit.command("search")
def search(
    actor: str | None = None,
    action: str | None = None,
    purpose: str | None = None,
    destination: str | None = None,
    outcome: Outcome | None = None,
    profile: str | None = None,
    from_: Annotated[str | None, typer.Option("--from", help="RFC 3339; not before.")] = None,
    to: Annotated[str | None, typer.Option(help="RFC 3339; before.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most entries shown.")] = 50,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """List entries that match, newest first."""
    wanted = {
        "actor": actor,
        "action": action,
        "purpose": purpose,
        "destination": destination,
        "outcome": outcome,
        "profile": profile,
        "from": from_,
        "to": to,
    }
    with connected() as api:
        show_list(api.items("/audit", most=limit, **wanted), _COLUMNS, as_json=as_json)


@audit.command("verify")
def verify(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Recompute the whole log; on any difference say where, and exit with 1."""
    with connected() as api:
        report = api.get("/audit/verify")
    if as_json:
        show_json(report)
    if not report["verified"]:
        problems = report["problems"]
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise AuditError(f"the audit log does not verify: {problems[0]}{more}")
    if not as_json:
        say(
            f"the audit log verifies: {report['entries']} entries, {report['checkpoints']} checkpoints, "
            f"signed up to {report['signed']}"
        )


@audit.command("open-origin")
def open_origin(
    reason: Annotated[OriginReason, typer.Option(help="Why the log fell behind its checkpoint.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="The newest signed checkpoint that anybody holds, as a file.")
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Go on signing after a restore: under a new origin, whose first entry names the old checkpoint."""
    note = "" if checkpoint is None else checkpoint.read_text(encoding="utf-8")
    with connected() as api:
        opened = api.post("/audit/origin", {"reason": reason, "checkpoint": note})
    if as_json:
        show_json(opened)
        return
    say(f"the log goes on as {opened['note'].partition(chr(10))[0]}, signed up to {opened['size']}")
    say(f"verifiers pin {opened['verifier']}")
