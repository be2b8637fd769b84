"""What commands print: a table for people, JSON for programs, and nothing personal in clear."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, ProgressColumn
from rich.table import Table

_PIPED_WIDTH = 240
_UNPRINTABLE = dict.fromkeys(
    [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd"
)
"""What somebody's own data could steer a terminal with, or turn a line around."""


def show_list(items: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print a listing: JSON array of whole items, or a table of the named ``columns``."""
    if as_json:
        show_json(list(items))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for item in items:
        table.add_row(*(escape(_cell(item.get(column))) for column in columns))
    _console().print(table)


def show_record(record: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one thing: JSON, or a line for each of its fields."""
    if as_json:
        show_json(record)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in record.items():
        table.add_row(escape(name.replace("_", " ")), escape(_cell(value)))
    _console().print(table)


def show_json(value: object) -> None:
    """Print ``value`` as indented JSON."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def say(text: str) -> None:
    """Print one line for people."""
    _console().print(escape(text), soft_wrap=True)


def heading(text: str) -> None:
    """Print the title of what follows."""
    _console().print(f"\n[bold]{escape(text)}[/bold]")


def progress(*columns: str | ProgressColumn) -> Progress:
    """Return what shows on standard error how far something is, where a terminal can show it."""
    console = Console(file=sys.stderr)
    return Progress(*columns, console=console, transient=True, disable=not console.is_interactive)


def counted(number: int, what: str) -> str:
    """Return ``1 mistake`` or ``2 mistakes``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that does not exist yet, for its owner only; it is removed when the block fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _console() -> Console:
    width = None if sys.stdout.isatty() else _PIPED_WIDTH  # a program that reads us wants whole lines
    return Console(file=sys.stdout, highlight=False, width=width)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_cell(held)}" for key, held in value.items()) or "–"
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell(held) for held in value) or "–"
    return str(value).translate(_UNPRINTABLE)
