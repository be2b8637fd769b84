"""``cdp identity rules``: the rules in force, what a candidate would change, the pass that applies them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from cdp.cli.client import Api, connected
from cdp.cli.options import AsJson, Purpose
from cdp.cli.output import counted, progress, say, show_json, show_list
from cdp.errors import InvalidInputError
from cdp.policy import read_folder

_POLL_SECONDS = 0.5
_TYPES = ("type", "class", "priority", "unique", "limit")
_PASSES = ("no", "kind", "state", "done", "total", "merged", "parted", "started_by", "started_at")
_SAMPLES = {"merging": "would come together", "parting": "would come apart"}


def rules(
    candidate: Annotated[
        Path | None, typer.Option(help="A policies folder or an identity.yaml: say what it would change.")
    ] = None,
    proposal: Annotated[str, typer.Option(help="Say what this open proposal would change.")] = "",
    pause: Annotated[bool, typer.Option("--pause", help="Stop the pass that applies the rules.")] = False,  # noqa: FBT002  # a flag
    resume: Annotated[bool, typer.Option("--resume", help="Have it go on.")] = False,  # noqa: FBT002  # a flag
    follow: Annotated[bool, typer.Option("--follow", help="Wait until the pass is done or paused.")] = False,  # noqa: FBT002  # a flag
    purpose: Purpose = "",
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Show the rules that link identifiers, or what others would change; pause and resume applying them."""
    if sum((candidate is not None, bool(proposal), pause, resume)) > 1:
        raise typer.BadParameter("give one of --candidate, --proposal, --pause and --resume")
    with connected() as api:
        if candidate is not None or proposal:
            body = {"proposal": proposal} if candidate is None else _candidate(candidate)
            with _spinning("looking at everybody's links"):
                found = api.call("POST", "/identity/rules/preview", body=body, purpose=purpose)
            show_json(found) if as_json else _show_preview(found)
            return
        if pause or resume:
            api.post("/identity/rules/pause" if pause else "/identity/rules/resume")
        found = api.get("/identity/rules")
        if follow:
            found = _follow(api, found)
    show_json(found) if as_json else _show_rules(found)


def _candidate(path: Path) -> dict[str, Any]:
    try:
        if not path.is_dir():
            return {"identity": path.read_text(encoding="utf-8")}
        return {"files": {name: content.decode() for name, content in read_folder(path).items()}}
    except UnicodeDecodeError:
        raise InvalidInputError(f"a file in {path} is not UTF-8 text") from None


@contextmanager
def _spinning(what: str) -> Iterator[None]:
    """Show on standard error that something goes on."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with progress(*columns) as shown:
        shown.add_task(what, total=None)
        yield


def _follow(api: Api, found: Any) -> Any:
    """Show the progress on standard error until no pass is running."""
    try:
        with progress() as shown:
            task = shown.add_task("linking everybody by the rules in force")
            while running := [one for one in found["passes"] if one["state"] == "running"]:
                shown.update(task, total=running[0]["total"], completed=running[0]["done"])
                time.sleep(_POLL_SECONDS)
                found = api.get("/identity/rules")
    except KeyboardInterrupt:
        say("interrupted; a running server goes on with it")
        raise typer.Exit(1) from None
    return found


def _show_rules(found: Mapping[str, Any]) -> None:
    say(f"rules version {found['version']} of the policies {found['bundle'][:12]}")
    most, alarm = counted(found["profile_cap"], "identifier"), found["growth_alarm"]
    say(f"a profile holds at most {most}, and stewards are told from {alarm} on")
    say(f"what is told connects at most {counted(found['component_cap'], 'identifier')}")
    trust = sorted(found["source_trust"].items(), key=lambda one: (-one[1], one[0]))
    say(f"trust in sources: {', '.join(f'{name} {rank}' for name, rank in trust) or 'all alike'}")
    sure = found["matching"]
    say(f"matching links from probability {sure['accept']} on, a steward sees from {sure['review']} on")
    types = [*found["types"], {**found["external"], "type": "external:*"}]
    show_list([{**one, "limit": _limit(one["limit"])} for one in types], _TYPES, as_json=False)
    blocked = [
        {"type": name, "how": how, "values": values}
        for name, held in (*((one["type"], one["blocked"]) for one in types), ("any", found["blocked"]))
        for how, values in held.items()
        if values
    ]
    if blocked:
        say("\nvalues that identify nobody:")
        show_list(blocked, ("type", "how", "values"), as_json=False)
    if found["passes"]:
        say("\npasses over everything:")
        show_list(found["passes"], _PASSES, as_json=False)


def _limit(limit: Mapping[str, Any] | None) -> str | None:
    return None if limit is None else f"{limit['count']} {limit['period']}"


def _show_preview(found: Mapping[str, Any]) -> None:
    before, after = (found["profiles"][when] for when in ("before", "after"))
    say(f"{before} profiles now, {after} under the candidate; nothing is changed")
    say(f"{counted(found['merged'], 'profile')} would come together with others")
    say(f"{counted(found['parted'], 'profile')} would come apart")
    for kind, held in found["blocked"].items():
        for how, count in held.items():
            say(f"{counted(count, 'identifier')} of type {kind}: newly {how}")
    if found["unreadable"]:
        say(f"{counted(found['unreadable'], 'identifier')} cannot be opened: nobody can say if it is blocked")
    reasons = sorted({*found["set_aside"]["before"], *found["set_aside"]["after"]})
    if reasons:
        say("\npairs set aside:")
        rows = [
            {"reason": reason, **{when: held.get(reason, 0) for when, held in found["set_aside"].items()}}
            for reason in reasons
        ]
        show_list(rows, ("reason", "before", "after"), as_json=False)
    largest = [{"when": when, **one} for when, several in found["largest"].items() for one in several]
    if largest:
        say("\nlargest profiles:")
        show_list(largest, ("when", "id", "size", "devices", "types"), as_json=False)
    for name, title in _SAMPLES.items():
        if found[name]:
            say(f"\nsome that {title}:")
            show_list([_sample(one) for one in found[name]], ("before", "after", "links"), as_json=False)
    if found["hidden"]:
        said = "the policies do not permit it of somebody in them"
        say(f"\n{found['hidden']} of the largest and of the samples are not shown: {said}")


def _sample(one: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        when: [f"{held['id']} {_types(held['types'])}" for held in one[when]] for when in ("before", "after")
    }
    shown["links"] = [
        f"{'–'.join(kind or 'not shown' for kind in link['types'])}: "
        f"{link['before'] or 'not seen'} → {link['after']}"
        for link in one["links"]
    ]
    return shown


def _types(types: Mapping[str, int]) -> str:
    return "(" + ", ".join(f"{count} {kind}" for kind, count in types.items()) + ")"
