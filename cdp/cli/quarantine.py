"""``cdp quarantine …``: failed events, listed, looked at, replayed, discarded."""

from __future__ import annotations

import math
from collections import Counter
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from cdp.cli.client import Api, connected
from cdp.cli.options import AsJson
from cdp.cli.output import heading, progress, show_json, show_list, show_record
from cdp.errors import InvalidInputError

app = typer.Typer(help="Messages that could not become events.", no_args_is_help=True)
_COLUMNS = ("id", "kind", "reason", "cause", "source", "received_at")
_COUNTED = ("kind", "reason", "source", "messages", "oldest")
_SHOWN = 100
_STEP = 500
_Kind = Annotated[str, typer.Option(help="Only this kind.")]
_Reason = Annotated[str, typer.Option(help="Only this reason.")]
_Source = Annotated[str, typer.Option(help="Only of this source.")]
_From = Annotated[str | None, typer.Option("--from", help="RFC 3339; received at or after.")]
_To = Annotated[str | None, typer.Option(help="RFC 3339; received before.")]
_Ids = Annotated[list[str] | None, typer.Option("--id", help="Only this message; repeatable.")]


@app.command("list")
def list_quarantined(
    kind: _Kind = "",
    reason: _Reason = "",
    source: _Source = "",
    from_: _From = None,
    to: _To = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """List what is in quarantine with its cause: how much of what, and the oldest; with --json all of it."""
    asked: dict[str, Any] = {"kind": kind, "reason": reason, "source": source, "from": from_, "to": to}
    with connected() as api:
        if not as_json:
            show_list(api.get("/quarantine/counts", **asked)["items"], _COUNTED, as_json=False)
            heading(f"The oldest, at most {_SHOWN}")
        items = api.items("/quarantine", most=math.inf if as_json else _SHOWN, **asked)
        show_list(items, _COLUMNS, as_json=as_json)


@app.command("counts")
def count_quarantined(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Count what is in quarantine, by kind, reason and source."""
    with connected() as api:
        show_list(api.get("/quarantine/counts")["items"], _COUNTED, as_json=as_json)


@app.command("show")
def show_quarantined(message: str, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Show why one message failed, and its shape: places, types and sizes, no value."""
    with connected() as api:
        found = api.get(("quarantine", message))
    if as_json:
        show_json(found)
        return
    shape = found.pop("shape")
    show_record(found, as_json=False)
    show_list(shape, ("place", "type", "size"), as_json=False)


@app.command("replay")
def replay(
    kind: _Kind = "",
    reason: _Reason = "",
    source: _Source = "",
    from_: _From = None,
    to: _To = None,
    ids: _Ids = None,
    dry_run: Annotated[bool, typer.Option(help="Only say what would become of them.")] = False,  # noqa: FBT002  # a flag
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Send quarantined messages through again; what fails again stays. Interrupted, just run it again."""
    chosen = {"kind": kind, "reason": reason, "source": source, "from": from_, "to": to, "ids": ids}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with connected() as api, progress(*columns) as shown:
        task = shown.add_task("replay", total=_total(api, chosen))
        done: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        after: str | None = None
        while True:
            body = {**chosen, "dry_run": dry_run, "limit": _STEP, "after": after}
            found: dict[str, Any] = api.post("/quarantine/replay", body)
            after = found.pop("next")
            reasons.update(found.pop("reasons"))
            done.update(found)
            shown.update(task, completed=done["received"] + done["unreadable"])
            if after is None:
                break
    show_record({**done, "reasons": dict(reasons), "dry_run": dry_run}, as_json=as_json)


@app.command("discard")
def discard(
    kind: _Kind = "",
    reason: _Reason = "",
    source: _Source = "",
    from_: _From = None,
    to: _To = None,
    ids: _Ids = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it: there is no way back.")] = False,  # noqa: FBT002  # a flag
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Delete messages for good, with what says which; without --yes only say how many they are."""
    chosen = {"kind": kind, "reason": reason, "source": source, "from": from_, "to": to, "ids": ids}
    if not any(chosen.values()):
        raise InvalidInputError("say which: --kind, --reason, --source, --from, --to or --id")
    with connected() as api:
        if yes:
            show_record(api.post("/quarantine/discard", chosen), as_json=as_json)
        else:
            show_record({"would_discard": _total(api, chosen)}, as_json=as_json)


def _total(api: Api, chosen: dict[str, Any]) -> int:
    if chosen["ids"] is not None:
        return len(chosen["ids"])
    asked = {name: value for name, value in chosen.items() if name != "ids"}
    return sum(one["messages"] for one in api.get("/quarantine/counts", **asked)["items"])
