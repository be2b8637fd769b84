"""``cdp segment …`` and ``cdp list …``: definitions and lists from files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
import yaml

from cdp.cli.client import connected
from cdp.cli.options import AsJson
from cdp.cli.output import say, show_json, show_list, show_record
from cdp.errors import DefinitionError, InvalidInputError

segments = typer.Typer(help="Segments: who fits a definition.", no_args_is_help=True)
lists = typer.Typer(help="White, grey and black lists.", no_args_is_help=True)
_COLUMNS = ("name", "version", "description", "problem")


@segments.command("apply")
def apply(file: Path, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Store the definition in a YAML or JSON file as a segment's newest version."""
    definition = _definition(file)
    name = definition.get("name")
    if not isinstance(name, str) or not name:
        raise DefinitionError(f"{file}: the definition has no name")
    with connected() as api:
        show_record(api.call("PUT", f"/segments/{quote(name, safe='')}", body=definition), as_json=as_json)


@segments.command("preview")
def preview(file: Path, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Count who fits the definition in a file, without storing it."""
    with connected() as api:
        show_record(api.post("/segments/preview", _definition(file)), as_json=as_json)


@segments.command("list")
def list_segments(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """List the segments."""
    with connected() as api:
        show_list(api.items("/segments"), _COLUMNS, as_json=as_json)


@segments.command("show")
def show(name: str) -> None:
    """Show a segment with its definition."""
    with connected() as api:
        show_json(api.get(f"/segments/{quote(name, safe='')}"))


@lists.command("import")
def import_list(
    name: str,
    file: Path,
    kind: Annotated[str, typer.Option(help="white, grey or black.")],
    type_: Annotated[str, typer.Option("--type", help="Identifier type of the lines.")] = "email",
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Replace a list by the identifiers in a file, one a line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InvalidInputError(f"{file} is not UTF-8 text") from None
    members = [{"type": type_, "value": line.strip()} for line in lines if line.strip()]
    body = {"kind": kind, "members": members}
    with connected() as api:
        answer = api.call("PUT", f"/lists/{quote(name, safe='')}", body=body)
    if as_json:
        show_json(answer)
    else:
        say(f"list {name}: {len(members)} lines read, {answer['members']} known identifiers")


def _definition(file: Path) -> dict[str, Any]:
    try:
        held = yaml.safe_load(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise DefinitionError(f"{file} is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DefinitionError(f"{file}:{line}: not readable as YAML") from None
    except yaml.YAMLError:
        raise DefinitionError(f"{file}: not readable as YAML") from None
    if not isinstance(held, dict):
        raise DefinitionError(f"{file}: a definition is a mapping")
    return held
