"""``cdp identity …``: why identifiers are one person, and taking one out again. Prints masks, no values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cdp.cli.client import connected
from cdp.cli.identity_rules import rules
from cdp.cli.identity_show import show
from cdp.cli.options import AsJson, Purpose
from cdp.cli.output import counted, say, show_json, show_list

_PAIR = 2
_MANY = 50
"""Identifiers of one profile that are named by type and mask."""

identity = typer.Typer(help="Identities, links and profiles.", no_args_is_help=True)


identity.command("show")(show)
identity.command("rules")(rules)


@identity.command("split")
def split(
    identity_id: Annotated[str, typer.Argument(metavar="ID", help="An id from `cdp identity show`.")],
    others: Annotated[
        list[str] | None, typer.Argument(metavar="[OTHER]...", help="More ids, carved out with it as one.")
    ] = None,
    alone: Annotated[bool, typer.Option("--alone", help="Take out the identifier ID and no more.")] = False,  # noqa: FBT002  # a flag
    link: Annotated[bool, typer.Option("--link", help="Revoke only the link between ID and OTHER.")] = False,  # noqa: FBT002  # a flag
    do: Annotated[bool, typer.Option("--do", help="Do it; without, only say what it would do.")] = False,  # noqa: FBT002  # a flag
    reason: Annotated[str, typer.Option(help="Why: a code, or a sentence; the log keeps its digest.")] = "",
    purpose: Purpose = "data_quality",
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Take back the last merge of a profile, or take identifiers out: revoke what ties them to the others.

    The id of a profile is that of one of its identifiers, maybe of a device.
    """
    named = [identity_id, *(others or ())]
    if link and len(named) != _PAIR:
        raise typer.BadParameter("--link takes two ids: cdp identity split ID OTHER --link")
    if alone and (others or link):
        raise typer.BadParameter("--alone takes one id, and no --link")
    what: dict[str, Any] = {"link": named} if link else {"identities": named} if others or alone else {}
    with connected() as api:
        body = {"dry_run": not do, "reason": reason, **what}
        plan = api.call("POST", ("profiles", identity_id, "split"), body=body, purpose=purpose)
        if as_json:
            show_json(plan)
            return
        told = {
            one["id"]: f"{one['type']} {one['masked'] or 'sealed'}"
            for group in plan["before" if plan["dry_run"] else "after"]
            for one in api.items(("profiles", group["id"], "identifiers"), most=_MANY, stating=purpose)
        }
    say("this would happen (nothing is done; add --do):" if plan["dry_run"] else "done:")
    if not link:
        (left,) = (group["identities"] for group in plan["after"] if identity_id in group["identities"])
        say(_leaving(told.get(identity_id, identity_id), len(left), named=bool(what)))
    show_plan(plan, told)


def _leaving(one: str, size: int, *, named: bool) -> str:
    """Say who leaves the profile."""
    if not named and size > 1:
        return f"the last merge of this profile is taken back: {counted(size, 'identifier')} with {one}"
    if not named:
        return f"no merge is to be taken back, so one identifier leaves: {one}; name others to take along"
    return f"{one} will be in a profile of {counted(size, 'identifier')}"


def show_plan(plan: Mapping[str, Any], told: Mapping[str, str]) -> None:
    """Print what a split comes to.

    :param told: id → what an identifier is, in words.
    """
    groups = [
        {"when": when, **group, "identifiers": len(group["identities"])}
        for when in ("before", "after")
        for group in plan[when]
    ]
    show_list(groups, ("when", "id", "identifiers", "events", "traits"), as_json=False)
    home = {
        when: {one: group["id"] for group in plan[when] for one in group["identities"]}
        for when in ("before", "after")
    }
    moved = [
        {"id": one, "identifier": what, "before": home["before"].get(one), "after": home["after"].get(one)}
        for one, what in told.items()
    ]
    say("")
    show_list(moved, ("id", "identifier", "before", "after"), as_json=False)
    links = [
        {"what": what, "link": link}
        for what, key in (("gone", "links_gone"), ("made", "links_made"))
        for link in plan[key]
    ]
    links += [{"what": one["reason"], "link": one["link"]} for one in plan["set_aside"]]
    named = [{**one, "link": " – ".join(told.get(end, end) for end in one["link"])} for one in links]
    states = [
        {"purpose": one["purpose"], **{when: _states(one[when]) for when in ("before", "after")}}
        for one in plan["consents"]
    ]
    for rows, columns in (
        (named, ("what", "link")),
        (states, ("purpose", "before", "after")),
        (plan["destinations"], ("destination", "purpose", "segment", "references")),
    ):
        if rows:
            say("")
            show_list(rows, columns, as_json=False)


def _states(several: list[dict[str, str]]) -> list[str]:
    return [f"{one['id']} {one['state']}" for one in several]
