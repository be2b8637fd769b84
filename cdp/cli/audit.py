"""``cdp audit …``: who did what, and whether the log is still what it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from cdp.audit import Outcome
from cdp.cli.client import connected
from cdp.cli.options import AsJson, Format, Purpose
from cdp.cli.output import new_file, progress, say, show_json, show_list
from cdp.errors import AuditError

audit = typer.Typer(help="The audit log.", no_args_is_help=True)
OriginReason = Literal["restored_backup", "damaged_database", "test"]
_BAR = (TextColumn("{task.completed} {task.description}"), BarColumn(), TimeElapsedColumn())
_COLUMNS = ("index", "at", "actor", "action", "outcome", "purpose", "destination", "counts", "people")


@audit.command("search")
def search(
    actor: str | None = None,
    action: str | None = None,
    purpose: str | None = None,
    destination: str | None = None,
    segment: str | None = None,
    outcome: Outcome | None = None,
    profile: str | None = None,
    from_: Annotated[str | None, typer.Option("--from", help="RFC 3339; not before.")] = None,
    to: Annotated[str | None, typer.Option(help="RFC 3339; before.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most entries shown.")] = 50,
    out: Annotated[Path | None, typer.Option(help="Write every match into this new file.")] = None,
    format_: Annotated[Format, typer.Option("--format", help="What the file is written as.")] = "jsonl",
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """List entries that match, newest first."""
    wanted = {
        "actor": actor,
        "action": action,
        "purpose": purpose,
        "destination": destination,
        "segment": segment,
        "outcome": outcome,
        "profile": profile,
        "from": from_,
        "to": to,
    }
    if out is not None:
        _export(out, format_, wanted)
        return
    with connected() as api:
        show_list(api.items("/audit", most=limit, **wanted), _COLUMNS, as_json=as_json)


def _export(out: Path, kind: Format, wanted: dict[str, str | None]) -> None:
    """Write a search into a file; a bar shows how far it is."""
    with new_file(out) as file, connected() as api, progress(*_BAR) as shown:
        total = 0

        def begin(headers: Mapping[str, str]) -> Callable[[bytes], None]:
            nonlocal total
            total = int(headers["CDP-Total"])
            task = shown.add_task("entries", total=None if kind == "parquet" else total)

            def take(piece: bytes) -> None:
                file.write(piece)
                shown.update(task, advance=piece.count(b"\n"))

            return take

        api.stream("/audit/export", begin, format=kind, **wanted)
    say(f"{total} {'entry' if total == 1 else 'entries'} written to {out}")


@audit.command("uses")
def uses(
    action: str | None = None,
    purpose: str | None = None,
    destination: str | None = None,
    outcome: Outcome | None = None,
    from_: Annotated[str | None, typer.Option("--from", help="RFC 3339; its whole day (UTC).")] = None,
    to: Annotated[str | None, typer.Option(help="RFC 3339; before.")] = None,
    by_action: Annotated[bool, typer.Option("--by-action", help="By action and outcome as well.")] = False,  # noqa: FBT002  # a flag
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Count uses by day, purpose and destination; of the last 30 days unless a time is given."""
    wanted = {
        "action": action,
        "purpose": purpose,
        "destination": destination,
        "outcome": outcome,
        "from": from_,
        "to": to,
        "by": "action" if by_action else None,
    }
    columns = ("day", "purpose", "destination", *(("action", "outcome") if by_action else ()))
    with connected() as api:
        found = api.get("/audit/uses", **wanted)["items"]
        show_list(found, (*columns, "entries", "people"), as_json=as_json)


@audit.command("details")
def details(
    index: Annotated[int, typer.Argument(help="The entry's index.")],
    purpose: Purpose = "",
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Show what lies sealed beside an entry: free text, small numbers. It is recorded."""
    with connected() as api:
        found = api.call("GET", ("audit", str(index), "details"), purpose=purpose)
    if as_json:
        show_json(found)
        return
    show_list(found["details"], ("profile", "said"), as_json=False)
    if found["withheld"] or found["erased"]:
        say(f"{found['withheld']} withheld, {found['erased']} erased")


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
