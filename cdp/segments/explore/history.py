"""history: every version of a segment, and what each changed. Pure but for one read.

A change is at a place of the definition, named as a refusal names it (``where.all[0].value``): what is there
differs, was added, or was removed. Items of a list are matched first, so that one put in front of others is
one change. Places of what was removed are those of before, all others those of after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any, Literal

import msgspec

from cdp.clock import Micros
from cdp.segments import queries
from cdp.store import Connection

Kind = Literal["changed", "added", "removed"]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One place at which two versions differ.

    :param place: empty for the whole definition.
    :param before: None for what was added; ``after`` None for what was removed.
    """

    place: str
    kind: Kind
    before: Any = None
    after: Any = None


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a segment.

    :param deleted: it says that there is no segment any more.
    :param changes: against the version before; none in the first.
    """

    version: int
    created_at: Micros
    created_by: str
    deleted: bool
    changes: tuple[Difference, ...]


def history(connection: Connection, name: str) -> tuple[Version, ...]:
    """Return every version of a segment, also of a deleted one, the newest first; none of an unknown name."""
    return versions(queries.every_version(connection, name))


def versions(stored: Iterable[queries.Stored]) -> tuple[Version, ...]:
    """Return versions given in their order, the newest first, with what each changed."""
    found: list[Version] = []
    before: dict[str, Any] | None = None
    for held in stored:
        found.append(
            Version(
                version=held.version,
                created_at=held.created_at,
                created_by=held.created_by,
                deleted=held.source is None,
                changes=tuple(differences(before, held.source)) if held.version > 1 else (),
            )
        )
        before = held.source
    return tuple(reversed(found))


def differences(before: Any, after: Any, place: str = "") -> Iterator[Difference]:
    """Yield where two definitions, as plain data, differ; None stands for one that is deleted."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            at = f"{place}.{key}" if place else str(key)
            if key not in after:
                yield Difference(place=at, kind="removed", before=before[key])
            elif key not in before:
                yield Difference(place=at, kind="added", after=after[key])
            else:
                yield from differences(before[key], after[key], at)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _of_lists(before, after, place)
    elif msgspec.json.encode(before) != msgspec.json.encode(after):  # 1 is not true, as Python has it
        kind: Kind = "added" if before is None else "removed" if after is None else "changed"
        yield Difference(place=place, kind=kind, before=before, after=after)


def _of_lists(before: list[Any], after: list[Any], place: str) -> Iterator[Difference]:
    old, new = ([msgspec.json.encode(item, order="sorted") for item in items] for items in (before, after))
    for kind, low, high, start, end in SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        both = min(high - low, end - start)
        for step in range(both):
            yield from differences(before[low + step], after[start + step], f"{place}[{start + step}]")
        for at in range(low + both, high):
            yield Difference(place=f"{place}[{at}]", kind="removed", before=before[at])
        for at in range(start + both, end):
            yield Difference(place=f"{place}[{at}]", kind="added", after=after[at])
