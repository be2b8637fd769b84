"""``cdp segment …`` and ``cdp list …``: definitions and lists from files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from cdp.cli.client import connected
from cdp.cli.options import AsJson, ListKind
from cdp.cli.output import say, show_json, show_list, show_record
from cdp.errors import DefinitionError, InvalidInputError

segments = typer.Typer(help="Segments: who fits a definition.", no_args_is_help=True)
lists = typer.Typer(help="White, grey and black lists.", no_args_is_help=True)
_COLUMNS = ("name", "version", "description", "problem", "id")
_LINE = re.compile(r"line (\d+)(?:, |: )")
_LAST_KEY = re.compile(r"(\.?[^.\[\]]+|\[\d+\])$")


@segments.command("apply")
def apply(file: Path, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Store the definition in a YAML or JSON file as a segment's newest version."""
    with definition_of(file) as definition, connected() as api:
        name = definition.get("name")
        if not isinstance(name, str) or not name:
            raise DefinitionError("the definition has no name")
        made = api.call("PUT", ("segments", name), body=definition)
    if as_json:
        show_json(made)
    else:
        say(_headline(made))


@segments.command("preview")
def preview(file: Path, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Count who fits the definition in a file, without storing it."""
    with definition_of(file) as definition, connected() as api:
        found = api.post("/segments/preview", definition)
    show_record(found, as_json=as_json)


@segments.command("list")
def list_segments(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """List the segments."""
    with connected() as api:
        show_list(api.items("/segments"), _COLUMNS, as_json=as_json)


@segments.command("show")
def show(
    name: str,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
    sql: Annotated[bool, typer.Option("--sql", help="Show the SQL that finds its members.")] = False,  # noqa: FBT002  # a flag
) -> None:
    """Show a segment with its definition, as a file would hold it."""
    with connected() as api:
        held = api.get(("segments", name, "sql") if sql else ("segments", name))
    if sql and not as_json:
        say(held["sql"])
        return
    if as_json:
        show_json(held)
        return
    say(_headline(held))
    if held["problem"]:
        say(held["problem"])
    say(yaml.safe_dump(held["definition"], sort_keys=False, allow_unicode=True).rstrip())


@segments.command("schema")
def schema(
    out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
) -> None:
    """Give the JSON Schema of a definition, with which an editor checks and completes files."""
    with connected() as api:
        found = api.get("/schemas/segment")
    if out is None:
        show_json(found)
        return
    out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    say(f"{out}: begin a file with `# yaml-language-server: $schema={out}`")


@segments.command("why")
def why(
    name: str,
    profile: Annotated[str, typer.Argument(help="The id of a profile, as a look-up shows it.")],
    purpose: Annotated[str, typer.Option(help="The internal purpose for which you ask.")],
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Say why somebody is in a segment, or is not: each condition, and what decides it."""
    with connected() as api:
        found = api.get(("profiles", profile, "segments", name), purpose=purpose)
    if as_json:
        show_json(found)
        return
    said = "is in" if found["member"] else "is restrained, so not in" if found["restrained"] else "is not in"
    say(
        f"{profile} {said} segment {found['segment']}, version {found['version']}, "
        f"as of commit {found['as_of']}"
    )
    _say_reason(found["reason"], 0)


def _say_reason(reason: Mapping[str, Any], depth: int) -> None:
    """Say a condition on a line of its own, those in it below."""
    condition = yaml.safe_dump(reason.get("condition", {}), default_flow_style=True, width=10_000).strip()
    told = [f"{key} {reason[key]}" for key in ("value", "matched", "amount") if reason.get(key) is not None]
    if "steps" in reason:
        told.append(f"steps reached {sum(reason['steps'])} of {len(reason['steps'])}")
    if "masked_fields" in reason:
        told.append(f"masked {', '.join(reason['masked_fields'])}")
    text = reason["kind"] if condition == "{}" else condition
    say(f"{'  ' * depth}{'yes' if reason['holds'] else 'no '} {text}{': ' if told else ''}{', '.join(told)}")
    for event in reason.get("events", ()):
        read = ", ".join(f"{name} {value}" for name, value in event["properties"].items())
        say(f"{'  ' * depth}      {event['occurred_at']} {event['name']}{': ' if read else ''}{read}")
    for part in reason.get("parts", ()):
        _say_reason(part, depth + 1)


@lists.command("import")
def import_list(
    name: str,
    file: Path,
    kind: Annotated[ListKind, typer.Option(help="What standing on it means.")],
    type_: Annotated[str, typer.Option("--type", help="Identifier type of the lines.")] = "email",
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Replace a list by the identifiers in a file, one a line."""
    if "/" in name:
        raise InvalidInputError("the name of a list has no slash; the file comes after it")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InvalidInputError(f"{file} is not UTF-8 text") from None
    members = [{"type": type_, "value": line.strip()} for line in lines if line.strip()]
    body = {"kind": kind, "members": members}
    with connected() as api:
        answer = api.call("PUT", ("lists", name), body=body)
    if as_json:
        show_json(answer)
    else:
        known, unknown = answer["members"], answer["unknown"]
        say(f"list {name}: {len(members)} lines read, {known} known identifiers, {unknown} not known yet")


def _headline(held: Mapping[str, Any]) -> str:
    people = "its count is not for this key" if held["count"] is None else f"{held['count']} people"
    return f"segment {held['name']}, version {held['version']}: {people}"


@contextmanager
def definition_of(file: Path) -> Iterator[dict[str, Any]]:
    """Read a definition; what is found wrong with it, here or by the platform, gets its file and line.

    :raises DefinitionError: it is wrong.
    """
    from cdp.segments import read  # noqa: PLC0415  # all of the warehouse, as other commands need not

    lines: dict[str, int] = {}
    raw = file.read_bytes()
    try:
        document = read(raw)
        lines = {_place(path): line for path, line in document.lines.items()}
        if not isinstance(document.data, dict):
            raise DefinitionError("a definition is a mapping")
        yield document.data
    except InvalidInputError as error:
        message = error.message
        if found := _LINE.match(message):
            line: int | None = int(found[1])
            message = message[found.end() :]
        else:
            line = _line(message.partition(": ")[0], lines)
        raise DefinitionError(f"{file}{'' if line is None else f':{line}'}: {message}") from None


def _place(path: tuple[str | int, ...]) -> str:
    """Return how the platform names a place in a definition: ``where.all[0].trait``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")


def _line(place: str, lines: Mapping[str, int]) -> int | None:
    """Return the line of a place, else of the nearest one around it that has a line."""
    while place and place not in lines:
        place, before = _LAST_KEY.sub("", place), place
        if place == before:
            break
    return lines.get(place)
