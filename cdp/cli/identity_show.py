"""``cdp identity show``: one person on one page. Prints no sealed value; of an identifier a mask at the most.

An identifier to look up by comes on standard input, so that it stands in no history and no list of processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from cdp.cli.client import Api, connected
from cdp.cli.options import AsJson, Purpose, read_value
from cdp.cli.output import counted, heading, say, show_json, show_list

_MANY = 50
"""Identifiers and links on a page for people; ``--json`` has all."""
_PARTS = ("uses", "identifiers", "links", "consents", "events")  # uses first: not those of this very page
Row = Mapping[str, Any]


def show(
    profile: Annotated[str | None, typer.Argument(help="The id of a profile; of a merged one, too.")] = None,
    kind: Annotated[str, typer.Option("--type", help="Instead of an id: the type of an identifier.")] = "",
    value: Annotated[str, typer.Option(help="Its value: - reads it from standard input.")] = "",
    last: Annotated[int, typer.Option(min=1, max=500, help="Most events and uses shown.")] = 10,
    purpose: Purpose = "data_quality",
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Show one person: traits, tags, identifiers, links, consents, segments, events, uses, and why."""
    if (profile is None) == (not kind):
        raise typer.BadParameter("name either a profile or the --type of an identifier")
    if kind and value != "-":
        raise typer.BadParameter("the value comes on standard input: --value -")
    with connected() as api:
        if profile is None:
            body = {"type": kind, "value": read_value()}
            found = api.call("POST", "/profiles/lookup", body=body, purpose=purpose)
        else:
            found = api.call("GET", ("profiles", profile), purpose=purpose)
        parts = _parts(api, found["id"], purpose, last, math.inf if as_json else _MANY)
    if as_json:
        show_json({"profile": found, **parts})
        return
    say(f"profile {found['id']}, read for {purpose or 'the purpose of this key'}; times are UTC")
    for title, rows, columns in page(found, parts):
        heading(title if rows else f"{title}: none")
        if rows:
            show_list(rows, columns, as_json=False)


def _parts(api: Api, profile: str, purpose: str, last: int, many: float) -> dict[str, list[Row]]:
    most = {"identifiers": many, "links": many, "consents": math.inf, "events": last, "uses": last}
    return {
        part: list(api.items(("profiles", profile, part), most=most[part], stating=purpose))
        for part in _PARTS
    }


def page(
    found: Row, parts: Mapping[str, Sequence[Row]]
) -> Iterator[tuple[str, Sequence[Row], tuple[str, ...]]]:
    """Yield the tables of the page: title, rows, columns.

    :param found: the profile as REST shows it; ``parts`` its lists by name.
    """
    masked, tags = set(found["masked_fields"]), {tag["name"] for tag in found["tags"]}
    rows = [
        {
            "name": name,
            "value": "sealed" if name in masked else value,
            "source": held["source"],
            "when": _when(held["observed_at"]),
            "rule": held["rule"],
            "sources": f"{held['sources']} that differ" if held["conflict"] else held["sources"],
        }
        for name, value in found["traits"].items()
        if (held := found["provenance"][name])
    ]
    basis = {tag["name"]: tag["basis"] for tag in found["tags"]}
    columns = ("name", "value", "source", "when", "rule", "sources")
    yield "traits", [row for row in rows if row["name"] not in tags], columns
    concluded = [{**row, "basis": basis[row["name"]]} for row in rows if row["name"] in tags]
    yield "tags (conclusions)", concluded, ("name", "value", "source", "when", "basis")
    within = [
        {"name": one["segment"], "version": one["version"], "evaluated": _when(one["evaluated_at"])}
        for one in found["memberships"]
    ]
    yield "segments", within, ("name", "version", "evaluated")

    shown = parts["identifiers"]
    more = f", the first {len(shown)}" if found["identities"] > len(shown) else ""
    identifiers = [
        {**one, "value": one["masked"] or "sealed", "since": _when(one["created_at"])} for one in shown
    ]
    title = f"{counted(found['identities'], 'identifier')}{more}"
    yield title, identifiers, ("id", "type", "class", "value", "source", "since")

    masks = {one["id"]: one["masked"] or "" for one in shown}
    standing = sorted((one for one in parts["links"] if one["holds"]), key=lambda one: not one["accepted"])
    newest = f", of the newest {_MANY} decisions" if len(parts["links"]) == _MANY else ""
    yield f"links{newest}", [row for one in standing for row in _link(one, masks)], ("outcome", "link")

    said = [one for one in parts["consents"] if one["reason"] != "no_record" or one["notice_given"]]
    consents = [
        {**one, "reason": one["reason"].replace("_", " "), "since": _when(one["since"])} for one in said
    ]
    title = f"consents ({len(said)} of {counted(len(parts['consents']), 'purpose')})"
    yield title, consents, ("purpose", "state", "reason", "since", "receipt")

    events = [{**one, "when": _when(one["occurred_at"])} for one in parts["events"]]
    yield "last events", events, ("when", "type", "name", "source", "properties")
    uses = [{**one, "when": _when(one["at"])} for one in parts["uses"]]
    yield "last uses", uses, ("when", "actor", "action", "outcome", "purpose", "destination")


def _link(one: Row, masks: Mapping[str, str]) -> Iterator[Row]:
    """Yield two rows: what is linked, or not, and on what it was decided.

    :param masks: id → mask of the profile's own identifiers; any other end is somebody else's.
    """
    ends = zip(one["identities"], one["types"], strict=True)
    named = [f"{kind or 'not shown'} {masks.get(id_, id_)}".strip() for id_, kind in ends]
    yield {"outcome": "linked" if one["accepted"] else "set aside", "link": " – ".join(named)}
    of = f" of {one['source']}" if one["source"] else ""
    told = f"{one['evidence']}{of}, decided {_when(one['decided_at'])}, rules version {one['rules_version']}"
    yield {"outcome": "", "link": f"{one['why']}: {told}"}


def _when(instant: str | None) -> str | None:
    """Return an RFC 3339 time to the second, for people."""
    return None if instant is None else instant[:19].replace("T", " ")
