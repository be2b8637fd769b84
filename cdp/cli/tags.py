"""``cdp tag …``: what is concluded about people, by definitions from files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from cdp.cli.client import connected
from cdp.cli.explore import show_history
from cdp.cli.options import AsJson
from cdp.cli.output import say, show_json, show_list
from cdp.cli.segments import definition_of
from cdp.errors import DefinitionError

tags = typer.Typer(help="Computed tags: what is concluded about people.", no_args_is_help=True)
_COLUMNS = ("name", "version", "kind", "category", "description", "problem")


@tags.command("apply")
def apply(files: list[Path], as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Store the definitions in YAML or JSON files as newest versions of tags; those that others use first."""
    made = []
    for file in _in_order(files):
        with definition_of(file) as definition, connected() as api:
            made.append(api.call("PUT", ("tags", definition["name"]), body=definition))
        if not as_json:
            say(_headline(made[-1]))
    if as_json:
        show_json(made)


@tags.command("list")
def list_tags(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """List the tags."""
    with connected() as api:
        show_list(api.items("/tags"), _COLUMNS, as_json=as_json)


@tags.command("show")
def show(name: str, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Show a tag with its definition, as a file would hold it."""
    with connected() as api:
        held = api.get(("tags", name))
    if as_json:
        show_json(held)
        return
    say(_headline(held))
    if held["problem"]:
        say(held["problem"])
    say(yaml.safe_dump(held["definition"], sort_keys=False, allow_unicode=True).rstrip())


@tags.command("history")
def history(name: str, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """List the versions of a tag, the newest first, with what each changed."""
    show_history(("tags", name, "history"), as_json=as_json)


@tags.command("rebuild")
def rebuild(name: str, as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Find the thresholds of a score anew, in what everybody amounts to now."""
    with connected() as api:
        held = api.post(("tags", name, "rebuild"), {})
    if as_json:
        show_json(held)
    else:
        say(_headline(held))


@tags.command("delete")
def delete(name: str) -> None:
    """Delete a tag that no segment or other tag uses; its versions stay on record."""
    with connected() as api:
        api.call("DELETE", ("tags", name))
    say(f"tag {name} deleted")


@tags.command("schema")
def schema(
    out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
) -> None:
    """Give the JSON Schema of a tag, with which an editor checks and completes files."""
    with connected() as api:
        found = api.get("/schemas/tag")
    if out is None:
        show_json(found)
        return
    out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    say(f"{out}: begin a file with `# yaml-language-server: $schema={out}`")


def _in_order(files: list[Path]) -> list[Path]:
    """Return files of definitions such that each comes after those of the tags that it uses."""
    known: dict[str, Path] = {}
    uses: dict[str, set[str]] = {}
    for file in files:
        with definition_of(file) as definition:
            name = definition.get("name")
            if not isinstance(name, str) or not name:
                raise DefinitionError("the definition has no name")
            if name in known:
                raise DefinitionError(f"the tag {name} is in {known[name]}, too")
            known[name], uses[name] = file, set(_used(definition))
    try:
        order = list(TopologicalSorter(uses).static_order())
    except CycleError:
        return files  # which the platform refuses, naming the circle
    return [known[name] for name in order if name in known]


def _used(data: Any) -> Iterator[str]:
    """Yield the tags that a definition names."""
    if isinstance(data, Mapping):
        if isinstance(data.get("tag"), str):
            yield data["tag"]
        data = list(data.values())
    if isinstance(data, list):
        for item in data:
            yield from _used(item)


def _headline(held: Mapping[str, Any]) -> str:
    text = f"tag {held['name']}, version {held['version']}: {held['kind']}, tells {held['category']}"
    if found := held["thresholds"]:
        values = ", ".join(f"{value:g}" for value in found["values"])
        of = "" if found["people"] is None else f" of {found['people']} people"
        text += f"; thresholds {values}{of}, {found['computed_at']}"
    return text
