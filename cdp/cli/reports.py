"""``cdp report …`` and ``cdp queue``: what was done with people's data, and what waits for an officer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cdp.cli.client import connected
from cdp.cli.options import AsJson
from cdp.cli.output import heading, say, show_json, show_list, show_record
from cdp.errors import InvalidInputError

reports = typer.Typer(help="Reports of what was done with people's data.", no_args_is_help=True)
From = Annotated[str | None, typer.Option("--from", help="A day or an RFC 3339 time; not before.")]
Until = Annotated[str | None, typer.Option("--to", help="A day or an RFC 3339 time; before.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write it to this file, as one page.")]
Only = Annotated[str | None, typer.Option(help="Only of this one.")]
_QUEUE_COLUMNS = ("severity", "due", "kind", "what", "since", "do")


@reports.callback()
def _reports() -> None:
    """Reports of what was done with people's data."""


@reports.command("processing")
def processing(
    from_: From = None,
    to: Until = None,
    html: Html = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Records of processing (GDPR Art. 30) from what was done, and where that is not what is declared."""
    _report("processing", {"from": from_, "to": to}, html, as_json=as_json)


@reports.command("blast-radius")
def blast_radius(
    destination: Annotated[str | None, typer.Option(help="A destination that was breached.")] = None,
    key: Annotated[str | None, typer.Option(help="The name of an API key that was stolen.")] = None,
    source: Annotated[str | None, typer.Option(help="The name of a source that was breached.")] = None,
    from_: From = None,
    to: Until = None,
    noticed_at: Annotated[
        str | None, typer.Option(help="When it was noticed (RFC 3339); the 72 hours run from then.")
    ] = None,
    html: Html = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """How far a breach reaches: who, what, where it went, by when to notify whom (GDPR Art. 33, 34)."""
    asked = {
        "destination": destination,
        "key": key,
        "source": source,
        "from": from_,
        "to": to,
        "noticed_at": noticed_at,
    }
    _report("blast-radius", asked, html, as_json=as_json)


@reports.command("audience-loss")
def audience_loss(
    segment: Only = None,
    destination: Only = None,
    purpose: Only = None,
    by: Annotated[Literal["day", "week", "month"], typer.Option(help="Pieces of the period.")] = "day",
    from_: From = None,
    to: Until = None,
    html: Html = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Why people were withheld, over time."""
    asked = {"segment": segment, "destination": destination, "purpose": purpose, "by": by}
    _report("audience-loss", {**asked, "from": from_, "to": to}, html, as_json=as_json)


@reports.command("notices")
def notices(
    from_: From = None,
    to: Until = None,
    html: Html = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """How many people came by import and were given no notice within a month (GDPR Art. 14)."""
    _report("notices", {"from": from_, "to": to}, html, as_json=as_json)


def queue(
    limit: Annotated[int, typer.Option(min=1, help="Most things shown.")] = 50,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """List what waits for an officer, the most urgent first."""
    with connected() as api:
        show_list(api.items("/officer/queue", most=limit), _QUEUE_COLUMNS, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add what is a command of its own."""
    app.command("queue")(queue)


def _report(name: str, asked: dict[str, str | None], html: Path | None, *, as_json: bool) -> None:
    with connected() as api:
        if html is not None:
            made = api.data(("reports", name), **asked, format="html")
            try:
                html.write_bytes(made)
            except OSError as error:
                raise InvalidInputError(f"{html} cannot be written: {error.strerror}") from None
            say(f"the report is in {html}")
            return
        report = api.get(("reports", name), **asked)
    if as_json:
        show_json(report)
        return
    from cdp.reports import outline  # noqa: PLC0415  # loads all stages, which no other command needs

    for section in outline(report):
        heading(section.title)
        if section.facts:
            show_record(dict(section.facts), as_json=False)
        if section.columns:
            rows = [dict(zip(section.columns, row, strict=True)) for row in section.rows]
            show_list(rows, section.columns, as_json=False)
        elif section.empty:
            say("none")
