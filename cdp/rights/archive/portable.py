"""The portable part: what the person provided, in a form that machines read (GDPR Art. 20). Pure.

JSON to the letter, and CSV for a spreadsheet, in which no text runs as a formula (``cdp/export/formats.py``).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from cdp.export import harmless
from cdp.rights.archive.model import Event, Identifier, Observation, Trait

Wanted = Callable[[str, str], bool]
"""(part, name) → whether a field is portable."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """``portable/profile.json``."""

    identifiers: tuple[Identifier, ...]
    traits: tuple[Trait, ...]
    observations: tuple[Observation, ...]

    def __repr__(self) -> str:
        return "<Profile>"


def profile(
    identifiers: Iterable[Identifier],
    traits: Iterable[Trait],
    observations: Iterable[Observation],
    wanted: Wanted,
) -> Profile:
    """Return what the person told of themselves."""
    return Profile(
        identifiers=tuple(one for one in identifiers if wanted("identifier", one.type)),
        traits=tuple(one for one in traits if wanted("trait", one.name)),
        observations=tuple(one for one in observations if wanted("trait", one.name)),
    )


def events(page: Iterable[Event], wanted: Wanted) -> list[Event]:
    """Return what the person did, with as much of it as is portable."""
    return [
        msgspec.structs.replace(
            one,
            properties={key: value for key, value in one.properties.items() if wanted("property", key)},
            context=_context(one.context, wanted),
        )
        for one in page
        if wanted("event", one.name if one.type == "track" else one.type)
    ]


def _context(held: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for top, value in held.items():
        if isinstance(value, dict):
            if left := {key: inner for key, inner in value.items() if wanted("context", f"{top}.{key}")}:
                found[top] = left
        elif wanted("context", top):
            found[top] = value
    return found


def profile_csv(held: Profile) -> bytes:
    """Return the profile as a table: one line for each identifier and each trait."""
    rows: list[Sequence[Any]] = [("kind", "name", "value", "source", "since")]
    rows += [("identifier", one.type, one.value, None, one.known_since) for one in held.identifiers]
    rows += [("trait", one.name, one.value, one.source, one.observed_at) for one in held.traits]
    return _table([[_cell(value) for value in row] for row in rows])


def events_csv(page: Iterable[Event]) -> bytes:
    """Return events as a table: one line for each property, one for an event that has none."""
    rows: list[Sequence[str]] = [("event", "occurred_at", "type", "name", "source", "part", "field", "value")]
    for one in page:
        front = tuple(map(_cell, (one.id, one.occurred_at, one.type, one.name, one.source)))
        told = [
            (*front, part, _cell(key), _cell(value))
            for part in ("properties", "context", "traits", "other")
            for key, value in getattr(one, part).items()
        ]
        rows += told or [(*front, "", "", "")]
    return _table(rows)


def _table(rows: Iterable[Sequence[str]]) -> bytes:
    """Return rows of cells as CSV (RFC 4180), UTF-8 with CRLF."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    return harmless(msgspec.json.encode(value).decode() if isinstance(value, list | dict) else value)
