"""``cdp policy …``: check, difference, activation by two officers, switches; one decision explained."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cdp.cli.client import connected
from cdp.cli.options import AsJson
from cdp.cli.output import counted, say, show_json, show_list, show_record
from cdp.cli.policy_check import COLUMNS, check, placed
from cdp.cli.policy_explain import told
from cdp.errors import InvalidInputError
from cdp.policy import read_folder, read_tests

policies = typer.Typer(help="Policies: what data may be used for.", no_args_is_help=True)

Folder = Annotated[
    Path | None,
    typer.Argument(help="The candidate; what the server's CDP_POLICIES_DIR holds unless given."),
]
Code = Annotated[str, typer.Option(help="Why: a short code in snake_case, e.g. suspected_breach.")]
_PERMIT_COLUMNS = ("destination", "purpose", "what", "names", "jurisdictions", "before", "after", "rules")
_FLOW_COLUMNS = ("destination", "purpose", "before", "after", "gained", "lost", "reasons")
_FIELD_COLUMNS = ("destination", "purpose", "field", "before", "after", "people")


class Position(StrEnum):
    """Where a switch stands."""

    ON = "on"
    OFF = "off"


@policies.callback()
def _policies() -> None:
    """Policies: what data may be used for."""


policies.command("check")(check)


@policies.command("show")
def show(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Show what is in force, what is proposed, what was activated by whom, and the switches."""
    with connected() as api:
        found = api.get("/policies")
    if as_json:
        show_json(found)
        return
    eyes = "two officers" if found["four_eyes"] else "one officer"
    say(f"in force: {found['sha256']}; {eyes} activate others")
    say(f"destinations: {', '.join(held['name'] for held in found['destinations'])}")
    for title in ("proposals", "activations", "switches"):
        if found[title]:
            say(f"\n{title}:")
            columns = [name for name in found[title][0] if name != "difference"]
            show_list(found[title], columns, as_json=False)


@policies.command("diff")
def diff(folder: Folder = None, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Say what a candidate would change: rules, and people and fields gained and lost."""
    with connected() as api:
        found = api.post("/policies/diff", _candidate(folder))
    _show_difference(found, as_json=as_json)


@policies.command("activate")
def activate(
    folder: Folder = None,
    approve: Annotated[
        str, typer.Option(help="Approve this proposal: its id, or the whole SHA-256 of its bundle.")
    ] = "",
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Propose a candidate and show what it changes and fails; with --approve put a proposed one in force."""
    if approve and folder is not None:
        raise InvalidInputError("--approve names what was proposed; give no folder with it")
    body = {"approve": approve} if approve else _candidate(folder)
    with connected() as api:
        done = api.post("/policies/activate", body)
    if as_json:
        show_json(done)
    elif approve:
        activated = done["activated"]
        say(f"in force: {activated['sha256']}")
        if activated["failed"]:
            say(f"though {counted(activated['failed'], 'mistake')} stood in its check when it was proposed")
    else:
        _show_difference(done["difference"], as_json=False)
        say(f"\nproposed as {done['proposal']['id']}; nothing is in force yet. A second officer approves it:")
        say(f"  cdp policy activate --approve {done['proposal']['sha256']}")


@policies.command("reject")
def reject(proposal: str, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Reject a proposal: nobody can approve it any more."""
    with connected() as api:
        done = api.post("/policies/reject", {"proposal": proposal})["rejected"]
    show_record(done, as_json=as_json)


@policies.command("explain")
def explain(
    profile: Annotated[str, typer.Option(help="The profile's id.")],
    destination: Annotated[str, typer.Option(help="Where the data would go.")] = "",
    purpose: Annotated[str, typer.Option(help="What for.")] = "",
    segment: Annotated[str, typer.Option(help="The segment whose definition is asked about.")] = "",
    export: Annotated[str, typer.Option(help="Explain this past export instead.")] = "",
    as_of: Annotated[str | None, typer.Option(help="As of this RFC 3339 time.")] = None,
    stated: Annotated[
        str, typer.Option("--for", help="What this reading is for: compliance_review or rights; recorded.")
    ] = "compliance_review",
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Explain one decision about one person, rule by rule; shows no values."""
    body: dict[str, Any] = {"profile": profile, "destination": destination, "purpose": purpose}
    body |= {"segment": segment, "export": export, "as_of": as_of}
    with connected() as api:
        found = api.call("POST", "/policies/explain", body=body, purpose=stated)
    if as_json:
        show_json(found)
        return
    for line in told(found):
        say(line)


@policies.command("suggest")
def suggest(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Propose declarations for fields that sources send and nobody declared, ready to be looked at."""
    with connected() as api:
        found = api.get("/policies/suggestions")
    if as_json:
        show_json(found["fields"])
    else:
        say(found["yaml"].rstrip("\n") or "every field that was seen is declared")


@policies.command("switch")
def switch(destination: str, position: Position, reason: Code, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Switch a destination off at once, in running exports too; or on again."""
    body = {"enabled": position is Position.ON, "reason": reason}
    with connected() as api:
        done = api.post(("destinations", destination, "switch"), body)
    show_record(done, as_json=as_json)


def _candidate(folder: Path | None) -> dict[str, Any]:
    if folder is None:
        return {}
    try:
        return {
            "files": {name: content.decode() for name, content in read_folder(folder).items()},
            "tests": {name: content.decode() for name, content in read_tests(folder).items()},
        }
    except UnicodeDecodeError:
        raise InvalidInputError(f"a file in {folder} is not UTF-8 text") from None


def _show_difference(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    if not found["changes"]:
        say("the candidate says nothing else than what is in force")
    else:
        changes = [{**change, "details": _details(change)} for change in found["changes"]]
        show_list(changes, ("what", "section", "name", "details"), as_json=False)
    if found["permits"]:
        say("\nnewly permitted by the text, whether or not it means anybody today:")
        show_list(found["permits"], _PERMIT_COLUMNS, as_json=False)
    if found["flows"]:
        say("\npeople of whom a row may leave:")
        show_list(found["flows"], _FLOW_COLUMNS, as_json=False)
    fields = [
        {"destination": flow["destination"], "purpose": flow["purpose"], **change}
        for flow in found["flows"]
        for change in flow["fields"]
    ]
    if fields:
        say("\nfields that would leave in another form:")
        show_list(fields, _FIELD_COLUMNS, as_json=False)
    for warning in found["warnings"]:
        say(f"\nnote: {warning}")
    _show_check(found.get("check"))


def _details(change: Mapping[str, Any]) -> list[str]:
    """Return what something said and says; of a proposal of an earlier version, where it differs."""
    values = [
        f"{value['attribute']}: {value['before']} → {value['after']}".removeprefix(": ")
        for value in change.get("values", ())
    ]
    return values or change["details"]


def _show_check(found: Mapping[str, Any] | None) -> None:
    """Say what a check of the candidate finds; nothing of a proposal of an earlier version."""
    if found is None:
        return
    if found["findings"]:
        say("\nits check finds:")
        show_list(map(placed, found["findings"]), COLUMNS, as_json=False)
    say(f"\ncheck: {counted(found['failed'], 'mistake')}, {counted(found['tests'], 'policy test')} decided")
