"""``cdp plan …`` and ``cdp source catalogue``: what a source is to send, and what it sends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from cdp.cli.client import connected
from cdp.cli.options import AsJson
from cdp.cli.output import counted, new_file, say, show_json, show_list
from cdp.cli.segments import definition_of

plans = typer.Typer(help="Tracking plans: what a source is to send.", no_args_is_help=True)
_SourceName = Annotated[str, typer.Option("--source", help="Whose plan it is.")]
_VIOLATIONS = ("event", "place", "kind", "seen", "last_seen")
_CATALOGUE = ("event", "part", "name", "share", "types", "last_seen", "category", "protection", "trust")


def register(sources: typer.Typer) -> None:
    """Add the command about one source to those about sources."""
    sources.command("catalogue")(catalogue)


@plans.command("apply")
def apply(file: Path, source: _SourceName, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Store the plan in a YAML or JSON file as the newest version of a source's plan."""
    with definition_of(file) as plan, connected() as api:
        made = api.call("PUT", ("sources", source, "plan"), body=plan)
    if as_json:
        show_json(made)
    else:
        say(_headline(made))


@plans.command("show")
def show(source: _SourceName, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Show the plan of a source, as a file would hold it."""
    with connected() as api:
        held = api.get(("sources", source, "plan"))
    if as_json:
        show_json(held)
        return
    say(_headline(held))
    say(_text(held["plan"]))


@plans.command("violations")
def violations(source: _SourceName, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Show how often events of a source did not fit its plan, and in what way."""
    with connected() as api:
        held = api.get(("sources", source, "plan"))
    show_list(held["violations"], _VIOLATIONS, as_json=as_json)


@plans.command("remove")
def remove(source: _SourceName) -> None:
    """Let a source have no plan from now on; its versions stay on record."""
    with connected() as api:
        api.call("DELETE", ("sources", source, "plan"))
    say(f"source {source} has no tracking plan")


@plans.command("infer")
def infer(
    source: _SourceName,
    out: Annotated[Path | None, typer.Option(help="Write it to this file, which does not exist yet.")] = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Make a plan to begin with, of the names and types that a source was seen to send."""
    with connected() as api:
        plan = api.get(("sources", source, "plan", "inferred"))
    if out is not None:
        with new_file(out) as file:
            file.write(f"{_text(plan)}\n".encode())
        say(f"{out}: {counted(len(plan['events']), 'event')}; look at each before you apply it")
    elif as_json:
        show_json(plan)
    else:
        say(_text(plan))


def catalogue(name: str, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Show which fields a source sends: in what share of its events, of what type, until when."""
    with connected() as api:
        found = api.get(("sources", name, "catalogue"))
    if as_json:
        show_json(found)
        return
    say(f"source {name}, {found['kind']}, trust {found['trust']}")
    rows = [_row(event, field) for event in found["events"] for field in event["fields"]]
    show_list(rows, _CATALOGUE, as_json=False)


def _row(event: dict[str, Any], field: dict[str, Any]) -> dict[str, Any]:
    called = " ".join(filter(None, (event["type"], event["name"]))) or "all"
    share = f"{field['share']:.1%} of {event['looked_at']}"
    return {**field, "event": called, "share": share, "types": sorted(field["types"])}


def _headline(held: dict[str, Any]) -> str:
    plan = held["plan"]
    events = counted(len(plan.get("events", ())), "event")
    return (
        f"source {held['source']}, plan version {held['version']}: {events}, "
        f"{plan.get('mode', 'observe')}, unplanned {plan.get('unplanned', 'allow')}"
    )


def _text(plan: dict[str, Any]) -> str:
    return str(yaml.safe_dump(plan, sort_keys=False, allow_unicode=True)).rstrip()
