"""A report as people read it: headings, facts and tables, made from its JSON alone. Pure.

Whatever is in the JSON is in the outline: a list of things becomes a table, one whose things hold lists of
things becomes a section for each, everything else a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import msgspec

_NAMES = ("purpose", "name", "destination", "source")


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One heading with what stands under it.

    :param level: 1 for the report itself.
    :param columns: of the table; empty when there is none. ``rows`` are aligned with it.
    """

    title: str
    level: int
    facts: tuple[tuple[str, Any], ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    empty: bool = False


def outline(report: Mapping[str, Any]) -> list[Section]:
    """Return the sections of a report, in order."""
    return list(_section(str(report.get("title", "")), report, 1, {"title", "report"}))


def label(key: str) -> str:
    """Return a key as people read it."""
    return key.replace("_", " ").capitalize()


def _section(title: str, held: Mapping[str, Any], level: int, left_out: set[str]) -> Iterator[Section]:
    facts = []
    below: list[tuple[str, Any]] = []
    for key, value in held.items():
        if key in left_out:
            continue
        if _is_table(value) or (isinstance(value, Mapping) and not _is_flat(value)) or value == []:
            below.append((key, value))
        else:
            facts.append((label(key), _lines(value)))
    yield Section(title=title, level=level, facts=tuple(facts))
    for key, value in below:
        if isinstance(value, Mapping):
            yield from _section(label(key), value, level + 1, set())
        elif all(_is_flat(item) for item in value):
            columns = tuple(dict.fromkeys(name for item in value for name in item))
            rows = tuple(tuple(item.get(name) for name in columns) for item in value)
            shown = tuple(map(label, columns))
            yield Section(title=label(key), level=level + 1, columns=shown, rows=rows, empty=not rows)
        else:
            yield Section(title=label(key), level=level + 1)
            for item in value:
                name = next((name for name in _NAMES if item.get(name)), "")
                yield from _section(str(item.get(name, "")), item, level + 2, {name})


def _lines(value: Any) -> Any:
    """Return a value without what has several lines: a signed note is for machines."""
    if not isinstance(value, Mapping):
        return value
    return {name: one for name, one in value.items() if not (isinstance(one, str) and "\n" in one)}


def _is_table(value: Any) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _is_flat(held: Mapping[str, Any]) -> bool:
    """Return whether each value fits into a cell: a word, words, or words with a number each."""
    return all(
        not any(isinstance(inner, Mapping | list) for inner in _inner(value)) for value in held.values()
    )


def _inner(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else []
