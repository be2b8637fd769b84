"""``cdp identity review …``: pairs that matching found likely, for a steward to decide. Prints no values."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from cdp.cli.client import connected
from cdp.cli.options import AsJson
from cdp.cli.output import say, show_json, show_list, show_record

review = typer.Typer(help="What a machine would not decide.", invoke_without_command=True)
_PairId = Annotated[str, typer.Argument(metavar="ID", help="An id from `cdp identity review`.")]
Kind = Literal["match", "set_aside", "large"]
_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "match": ("id", "probability", "why", "for", "against"),
    "set_aside": ("identities", "types", "reason", "evidence", "decided_at"),
    "large": ("profile", "identities"),
}
_STEPS = ("field", "level", "weight", "sum")


@review.callback()
def waiting(
    context: typer.Context,
    kind: Annotated[Kind, typer.Option(help="What to list.")] = "match",
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """List pairs that wait for a decision, the likeliest first.

    With --kind set_aside what the rules of policies/identity.yaml keep apart, with --kind large the profiles
    that reached its growth alarm.
    """
    if context.invoked_subcommand is not None:
        return
    with connected() as api:
        items = list(api.items("/identity/review", kind=kind))
    if as_json:
        show_json(items)
        return
    if kind == "match":
        items = [{**item, **_words(item["waterfall"])} for item in items]
    show_list(items, _COLUMNS[kind], as_json=False)


@review.command("show")
def show(pair: _PairId, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Show a pair: how each field adds to how likely it is (in powers of two of the odds)."""
    with connected() as api:
        found = api.get(("identity", "review", pair))
    if as_json:
        show_json(found)
        return
    say(f"profiles {' and '.join(found['profiles'])}: {found['probability']:.2%} ({found['why']})")
    total, rows = 0.0, []
    for step in found["waterfall"]:
        total += step["weight"]
        rows.append({**step, "weight": f"{step['weight']:+.2f}", "sum": f"{total:+.2f}"})
    show_list(rows, _STEPS, as_json=False)
    say("values: `POST /api/v1/profiles/ID/reveal` opens single fields, with a purpose and a reason")


@review.command("accept")
def accept(pair: _PairId, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Link the two profiles by your word; `cdp identity split` takes it back."""
    _decide(pair, "accept", as_json=as_json)


@review.command("reject")
def reject(pair: _PairId, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Keep the two apart: matching does not propose them again."""
    _decide(pair, "reject", as_json=as_json)


def _decide(pair: str, decision: str, *, as_json: bool) -> None:
    with connected() as api:
        show_record(api.post(("identity", "review", pair), {"decision": decision}), as_json=as_json)


def _words(steps: list[dict[str, Any]]) -> dict[str, str]:
    """Return which fields speak for a pair and which against, the strongest first."""
    fields = sorted(steps, key=lambda step: -abs(step["weight"]))
    told = [step for step in fields if step["level"]]
    return {
        "for": ", ".join(f"{s['field']} ({s['level']})" for s in told if s["weight"] > 0),
        "against": ", ".join(f"{s['field']} ({s['level']})" for s in told if s["weight"] < 0),
    }
