"""``cdp identity …``: why identifiers are one person, and taking one out again. Prints no values."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cdp.cli.client import connected
from cdp.cli.identity_rules import rules
from cdp.cli.identity_show import show
from cdp.cli.options import AsJson, Purpose
from cdp.cli.output import say, show_json, show_list

identity = typer.Typer(help="Identities, links and profiles.", no_args_is_help=True)


identity.command("show")(show)
identity.command("rules")(rules)


@identity.command("split")
def split(
    identity_id: Annotated[str, typer.Argument(metavar="ID", help="An id from `cdp identity show`.")],
    others: Annotated[
        list[str] | None, typer.Argument(metavar="[OTHER]...", help="More ids, carved out with it as one.")
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="Revoke only the link between ID and OTHER.")] = False,  # noqa: FBT002  # a flag
    do: Annotated[bool, typer.Option("--do", help="Do it; without, only say what it would do.")] = False,  # noqa: FBT002  # a flag
    reason: Annotated[str, typer.Option(help="Why: a code, or a sentence; the log keeps its digest.")] = "",
    purpose: Purpose = "",
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Take identifiers out of their profile: revoke every link that ties them to the others."""
    named = [identity_id, *(others or ())]
    what = {"link": named} if link else {"identities": named}
    with connected() as api:
        body = {"dry_run": not do, "reason": reason, **what}
        plan = api.call("POST", f"/profiles/{identity_id}/split", body=body, purpose=purpose)
    if as_json:
        show_json(plan)
        return
    say("this would happen (nothing is done; add --do):" if plan["dry_run"] else "done:")
    show_plan(plan)


def show_plan(plan: dict[str, Any]) -> None:
    """Print what a merge or a split comes to."""
    groups = [{"when": when, **group} for when in ("before", "after") for group in plan[when]]
    show_list(groups, ("when", "id", "identities", "events", "traits"), as_json=False)
    links = [
        {"what": what, "link": link}
        for what, key in (("gone", "links_gone"), ("made", "links_made"))
        for link in plan[key]
    ]
    links += [{"what": one["reason"], "link": one["link"]} for one in plan["set_aside"]]
    states = [
        {"purpose": one["purpose"], **{when: _states(one[when]) for when in ("before", "after")}}
        for one in plan["consents"]
    ]
    for rows, columns in (
        (links, ("what", "link")),
        (states, ("purpose", "before", "after")),
        (plan["destinations"], ("destination", "purpose", "segment", "references")),
    ):
        if rows:
            say("")
            show_list(rows, columns, as_json=False)


def _states(several: list[dict[str, str]]) -> list[str]:
    return [f"{one['id']} {one['state']}" for one in several]
