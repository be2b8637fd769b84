"""``cdp audit …``: who did what, and whether the log is still what it was."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from cdp.audit import Outcome
from cdp.cli.client import Api, connected
from cdp.cli.options import AsJson, Format, Purpose
from cdp.cli.output import new_file, progress, say, show_json, show_list
from cdp.errors import AuditError, InvalidInputError

audit = typer.Typer(help="The audit log.", no_args_is_help=True)
OriginReason = Literal["restored_backup", "damaged_database", "test"]
_BAR = (TextColumn("{task.completed} {task.description}"), BarColumn(), TimeElapsedColumn())
_LOOK_SECONDS = 0.2
_SECRET = re.compile("[0-9a-fA-F]{64}")
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
        task = shown.add_task("bytes", total=None)
        headers = api.download(
            "/audit/export",
            file,
            lambda done, _: shown.update(task, completed=done),
            params={**wanted, "format": kind},
        )
    total = int(headers["CDP-Total"])
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


@audit.command("replay")
def replay(export: str, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Decide an export again from the facts as they stood then; on any difference exit with 1.

    A running server goes on with it when the command is broken off.
    """
    with connected() as api:
        number = str(api.post(("exports", export, "replay"))["replay"])
        found = _followed(api, export, number)
    report = found["report"]
    if as_json:
        show_json(found)
    if report is None:
        raise AuditError(f"the replay ended early ({found['state']}); the server's log names the cause")
    if not as_json:
        _show_replay(report)
    if not report["ok"]:
        named = ", ".join(f"{code} {count}" for code, count in report["problems"].items())
        raise AuditError(f"{report['verdict']}{': ' if named else ''}{named}")


def _followed(api: Api, export: str, number: str) -> dict[str, Any]:
    """Return a replay when it has ended, showing how far it is until then."""
    with progress() as shown:
        task = shown.add_task("people decided again", total=None)
        while True:
            found: dict[str, Any] = api.get(("exports", export, "replays", number))
            if found["state"] != "running":
                return found
            if found["progress"] is not None:
                done, total = found["progress"]["done"], found["progress"]["total"]
                shown.update(task, completed=done, total=total or None)
            time.sleep(_LOOK_SECONDS)


def _show_replay(report: dict[str, Any]) -> None:
    say(report["verdict"])
    say(
        f"{report['people']} people and {report['leaves']} leaves, {report['carried']} carried, as of commit "
        f"{report['ledger_position']} and {report['decided_at']}, under bundle {report['bundle']}"
    )
    if not report["same_code"]:
        say(f"decided by {report['code'] or 'code that is not on record'}, replayed by {report['code_now']}")
    for title, named in (("explained", report["explained"]), ("unexplained", report["problems"])):
        if named:
            show_list(
                [{title: code, "people": count} for code, count in named.items()],
                (title, "people"),
                as_json=False,
            )
    if report["lacks"]:
        say(f"decided before all was recorded; not on record: {', '.join(report['lacks'])}")


@audit.command("prove")
def prove(
    export: str,
    out: Annotated[Path, typer.Option(help="The new file that the proof is written to.")],
    profile: Annotated[str | None, typer.Option(help="Id of the profile that it is about.")] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="A certificate of erasure, or its secrets alone, a line each.")
    ] = None,
    purpose: Purpose = "",
) -> None:
    """Write a file that proves, offline, that somebody was in an export, or was not.

    Of a person with several identifiers there is a file for each: proof.json, proof-2.json and so on. Secrets
    never stand on the command line.
    """
    if (profile is None) == (secret_file is None):
        raise InvalidInputError("name a --profile, or give a --secret-file")
    route = ("exports", export, "proof")
    with connected() as api:
        if secret_file is not None:
            files = [
                api.call("POST", route, body={"proof_secret": secret}, purpose=purpose)
                for secret in _secrets(secret_file)
            ]
        else:
            asked: dict[str, str | float | None] = {"profile": profile}
            shown = api.call("GET", route, params=asked, purpose=purpose)["proofs"]
            files = [
                api.call("GET", route, params={**asked, "format": "file", "identity": at}, purpose=purpose)
                for at in range(len(shown))
            ]
    for at, found in enumerate(files):
        path = out if at == 0 else out.with_stem(f"{out.stem}-{at + 1}")
        with path.open("x", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
        here = "decided for" if found["value"] is not None else "not in it"
        say(f"{path}: {here}; entry {found['audit_index']}, log of {found['checkpoint'].split(chr(10))[1]}")


def _secrets(path: Path) -> list[str]:
    """Return the proof secrets in a certificate of erasure, or in lines of a text.

    :raises InvalidInputError: there are none; what the file holds is not repeated.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)["secrets"] if text.lstrip().startswith("{") else text.split()
    except (OSError, ValueError, KeyError):
        raise InvalidInputError("the secret file cannot be read as a certificate or as text") from None
    if not found or not all(isinstance(one, str) and _SECRET.fullmatch(one) for one in found):
        raise InvalidInputError("the secret file holds something else than secrets of 64 hex digits")
    return [str(one) for one in found]
