"""``cdp segment history | overlap | funnel | retention | portrait``: what is asked of segments as tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from cdp.cli.client import connected
from cdp.cli.options import AsJson
from cdp.cli.output import heading, say, show_json, show_list
from cdp.cli.segments import definition_of


def register(app: typer.Typer) -> None:
    """Add the commands to a group."""
    for command in (history, overlap, funnel, retention, portrait):
        app.command(command.__name__)(command)


def history(name: str, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """List the versions of a segment, the newest first, with what each changed."""
    show_history(("segments", name, "history"), as_json=as_json)


def show_history(path: tuple[str, ...], *, as_json: bool) -> None:
    """Show the versions of a definition."""
    with connected() as api:
        versions = list(api.items(path))
    if as_json:
        show_json(versions)
        return
    for one in versions:
        gone = ", deleted" if one["deleted"] else ""
        say(f"version {one['version']}{gone}: {one['created_at']} by {one['created_by']}")
        for change in () if one["deleted"] else one["changes"]:
            sides = [_short(change[side]) for side in ("from", "to") if side in change]
            say(f"  {change['place'] or 'all of it'} {change['change']}: {' → '.join(sides)}")


def overlap(
    names: Annotated[list[str], typer.Argument(help="2 to 20 segments.")],
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Show how many people each two of some segments share, and which share of each that is."""
    with connected() as api:
        found = api.post("/segments/overlap", {"segments": names})
    if as_json:
        show_json(found)
        return
    sizes = {one["name"]: one["count"] for one in found["segments"]}
    cells: dict[tuple[str, str], str] = {(name, name): str(count) for name, count in sizes.items()}
    for pair in found["pairs"]:
        one, other = pair["segments"]
        for row, column, part in ((one, other, pair["shares"][0]), (other, one, pair["shares"][1])):
            cells[row, column] = f"{pair['count']} ({_percent(part)})"
    rows = [{"segment": row} | {column: cells[row, column] for column in sizes} for row in sizes]
    show_list(rows, ["segment", *sizes], as_json=False)
    say(f"as of commit {found['as_of']}; in brackets, which share of the row's segment that is")


def funnel(file: Path, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Count how many people get how far in the sequence in a YAML or JSON file."""
    with definition_of(file) as question, connected() as api:
        found = api.post("/segments/funnel", question)
    if as_json:
        show_json(found)
        return
    rows = [
        {
            "step": _short(step["step"]),
            "people": step["count"],
            "of the first": _percent(step["share"]),
            "of the one before": _percent(step["of_previous"]),
        }
        for step in found["steps"]
    ]
    show_list(rows, ["step", "people", "of the first", "of the one before"], as_json=False)
    done = found["completed"]
    say(f"completed by {done['count']} people ({_percent(done['share'])}), as of commit {found['as_of']}")


def retention(file: Path, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Count who came back in which period after they began, as a YAML or JSON file asks."""
    with definition_of(file) as question, connected() as api:
        found = api.post("/segments/retention", question)
    if as_json:
        show_json(found)
        return
    columns = [f"{found['every']} {after}" for after in range(found["periods"] + 1)]
    rows = [
        {
            "from": cohort["from"],
            "people": cohort["size"],
            **{
                column: None if count is None else f"{count} ({_percent(part)})"
                for column, count, part in zip(columns, cohort["returned"], cohort["shares"], strict=True)
            },
        }
        for cohort in found["cohorts"]
    ]
    show_list(rows, ["from", "people", *columns], as_json=False)
    say(f"on the clocks of {found['timezone']}, as of commit {found['as_of']}")


def portrait(
    name: str,
    trait: Annotated[list[str] | None, typer.Option(help="Only this trait; may be repeated.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only this tag; may be repeated.")] = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Show what the people of a segment are like, against everyone."""
    with connected() as api:
        given = {"traits": ",".join(trait) if trait else None, "tags": ",".join(tag) if tag else None}
        found = api.get(("segments", name, "portrait"), **given)
    if as_json:
        show_json(found)
        return
    say(
        f"segment {found['segment']}, version {found['version']}: {found['count']} of {found['everyone']} "
        f"people, as of commit {found['as_of']}"
    )
    for one in found["attributes"]:
        heading(one["name"])
        rows = [_row(_value(value), value) for value in one["values"]]
        rows += [_row("(other)", one["other"]), _row("(none)", one["none"])]
        show_list(rows, list(rows[0]), as_json=False)


def _row(value: str, cell: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "value": value,
        "people": cell["count"],
        "share": _percent(cell["share"]),
        "of everyone": _percent(cell["share_of_everyone"]),
        "index": cell["index"],
    }


def _value(cell: Mapping[str, Any]) -> str:
    """Return how a value is said: a text, a year, or a span of numbers."""
    if "from" in cell or "to" in cell:
        low, high = (f"{cell[key]:g}" if key in cell else "" for key in ("from", "to"))
        return f"{low} to {high}" if low and high else f"from {low}" if low else f"below {high}"
    return _short(cell.get("year", cell.get("value")))


def _percent(part: float | None) -> str:
    return "–" if part is None else f"{part:.1%}"


def _short(value: Any) -> str:
    """Return plain data on one line, as a file would hold it."""
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
        .strip()
        .removesuffix("\n...")
    )
