"""``cdp identity …``: why identifiers are one person, and taking one out again. Prints no values."""

from __future__ import annotations

from typing import Annotated

import typer

from cdp.cli.client import connected
from cdp.cli.options import AsJson, Purpose
from cdp.cli.output import say, show_json, show_list

identity = typer.Typer(help="Identities, links and profiles.", no_args_is_help=True)


@identity.command("show")
def show(profile: str, purpose: Purpose = "data_quality", as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Show a profile's identifiers (never their values) and the evidence that links them."""
    with connected() as api:
        found = [
            api.call("GET", f"/profiles/{profile}/{part}", params={"limit": 500}, purpose=purpose)["items"]
            for part in ("identifiers", "links")
        ]
    if as_json:
        show_json({"identifiers": found[0], "links": found[1]})
        return
    show_list(found[0], ("id", "type", "class", "created_at"), as_json=False)
    if found[1]:
        say("")
        show_list(found[1], ("identities", "accepted", "reason", "evidence"), as_json=False)


@identity.command("split")
def split(
    identity_id: Annotated[str, typer.Argument(metavar="ID", help="An id from `cdp identity show`.")],
    do: Annotated[bool, typer.Option("--do", help="Do it; without, only say what it would do.")] = False,  # noqa: FBT002  # a flag
    purpose: Purpose = "",
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Take an identifier out of its profile: revoke every link that ties it to the others."""
    with connected() as api:
        body = {"dry_run": not do}
        plan = api.call("POST", f"/profiles/{identity_id}/split", body=body, purpose=purpose)
    if as_json:
        show_json(plan)
        return
    say("this would happen (nothing is done; add --do):" if plan["dry_run"] else "done:")
    for when in ("before", "after"):
        rows = [{"when": when, **group} for group in plan[when]]
        show_list(rows, ("when", "id", "identities"), as_json=False)
