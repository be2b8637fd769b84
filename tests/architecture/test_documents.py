"""The documents say what is so: every setting, error, command, target and link."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest
import typer

import cdp
from cdp import errors, settings
from cdp.api.errors import classify
from cdp.cli import app
from cdp.errors import CdpError

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


def table(document: str) -> dict[str, list[str]]:
    """Return the rows of a document's tables whose first cell is code, by that cell."""
    rows = {}
    for line in (ROOT / document).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            rows[cells[0].strip("`")] = [cell.strip("`") for cell in cells[1:]]
    return rows


def all_errors(kind: type[CdpError] = CdpError) -> Iterator[type[CdpError]]:
    """Yield every public class of the error tree, wherever it is declared."""
    yield kind
    for below in kind.__subclasses__():
        yield from all_errors(below)


def test_every_setting_is_documented_with_its_default() -> None:
    documented = table("docs/settings.md")
    declared = {f"CDP_{field.upper()}": value for field, value in defaults().items()}
    assert set(documented) == set(declared) | settings._NOT_SETTINGS
    shown = {name: documented[name][0] for name in declared}
    assert shown == {name: "" if value is None else str(value) for name, value in declared.items()}


def test_every_setting_decides_something() -> None:
    """A setting that nobody reads is a promise that nobody keeps."""
    code = "\n".join(path.read_text() for path in (ROOT / "cdp").rglob("*.py"))
    read = set(re.findall(r"\b(?:settings|chosen|self)\.(\w+)", code))
    assert set(settings.Settings.__struct_fields__) - read == set()


def defaults() -> dict[str, object]:
    """Return each setting's value in an empty environment."""
    loaded = settings.load({})
    return {field: getattr(loaded, field) for field in loaded.__struct_fields__}


def test_every_error_is_documented_with_its_answer() -> None:
    for module in walk_packages(cdp.__path__, "cdp."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    documented = table("docs/errors.md")
    declared = {kind.__name__: kind for kind in all_errors() if not kind.__name__.startswith("_")}
    declared = {name: kind for name, kind in declared.items() if kind.__module__.startswith("cdp.")}
    assert set(documented) == set(declared)
    shown = {name: (int(cells[0]), cells[1]) for name, cells in documented.items()}
    assert shown == {name: classify(kind.__new__(kind)) for name, kind in declared.items()}


def test_the_tree_drawn_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"── (\w+)", errors.__doc__ or "")
    declared = [kind.__name__ for kind in all_errors() if kind.__module__ == "cdp.errors"]
    assert drawn == declared[1:]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_names_exists(document: Path) -> None:
    text = document.read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^\$ |`)make ([a-z]+)", text, re.MULTILINE)) <= targets
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []
    paths = re.findall(r"`((?:cdp|docs|tests|policies|migrations|benchmarks)/[\w./-]*)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def commands() -> set[str]:
    """Return every command, ``serve`` or ``audit verify``, and every group, ``audit``."""
    top = getattr(typer.main.get_command(app), "commands")  # noqa: B009  # click's type does not say it
    below = {f"{name} {sub}" for name, group in top.items() for sub in getattr(group, "commands", {})}
    return set(top) | below


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_tells_to_run_exists(document: Path) -> None:
    text = document.read_text()
    told = re.findall(r"(?:`|^\$ |\.venv/bin/)cdp ([a-z-]+(?: [a-z-]+)?)", text, re.MULTILINE)
    known = commands()
    groups = {command.split()[0] for command in known if " " in command}
    wrong = [
        words for words in told if (words if words.split()[0] in groups else words.split()[0]) not in known
    ]
    assert wrong == []
