"""What sources send and the policies do not declare: names and types, counted; never a value.

Invariants: counting costs one dictionary entry per name and is bounded; a name is stored only when it has the
form of a declarable one and cannot be personal itself (as for event names); counts are in memory until
``flush``, so a crash loses some of them, which is all that it loses.
"""

from __future__ import annotations

import re
from collections.abc import Container

import msgspec

from cdp.clock import Clock, Micros
from cdp.ingest import queries
from cdp.ingest.validate import looks_personal
from cdp.policy import FieldCatalogue
from cdp.store import Committer

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}(\.[a-z][a-z0-9_]{0,63}){0,3}")
_LONG_NUMBER = re.compile(r"\d{5}")
_IN_MEMORY = 5_000
_PER_SOURCE = 1_000
_TYPES: dict[type, str] = {
    str: "string", bool: "boolean", int: "number", float: "number", list: "list", dict: "object"
}  # fmt: skip

Key = tuple[int, str, str, type]
"""(source_id, part, name, type)."""


class SeenField(msgspec.Struct, frozen=True, order=True):
    """A field that came without a declaration.

    :param part: ``traits`` or ``properties``, as in ``fields.yaml``.
    :param types: JSON type → how often.
    """

    part: str
    name: str
    types: dict[str, int]
    sources: tuple[int, ...]
    last_seen_at: Micros

    @property
    def seen(self) -> int:
        """How often it came."""
        return sum(self.types.values())


class Undeclared:
    """Counts fields that ``fields.yaml`` does not declare."""

    def __init__(self, committer: Committer, fields: FieldCatalogue, clock: Clock) -> None:
        self._committer = committer
        self._clock = clock
        self._counts: dict[Key, int] = {}
        self.adopt(fields)

    def adopt(self, fields: FieldCatalogue) -> None:
        """Leave out what these fields declare."""
        self._declared: dict[str, Container[str]] = {"traits": fields.traits, "properties": fields.properties}

    def note(self, source_id: int, part: str, name: str, value: object) -> None:
        """Count one value; called for every field of every event that is not clear."""
        counts = self._counts
        key = source_id, part, name, type(value)
        if key in counts:
            counts[key] += 1
        elif len(counts) < _IN_MEMORY:
            counts[key] = 1

    def flush(self) -> None:
        """Add what was counted to the table."""
        counts, self._counts = self._counts, {}
        added: dict[tuple[int, str, str, str], int] = {}
        for (source_id, part, name, kind), count in counts.items():
            if name not in self._declared[part] and _is_fit(name) and kind in _TYPES:
                key = source_id, part, name, _TYPES[kind]
                added[key] = added.get(key, 0) + count
        if not added:
            return
        with self._committer.batch(head_first=True) as batch:  # so that two processes add to one another
            queries.add_undeclared(batch.connection, added, self._clock.now(), _PER_SOURCE)

    def seen(self) -> list[SeenField]:
        """Return what was seen and is not declared now, what came most often first."""
        with self._committer.store.reading() as connection:
            rows = queries.undeclared(connection)
        found: dict[tuple[str, str], SeenField] = {}
        for source_id, part, name, kind, count, at in rows:
            if name in self._declared[part]:
                continue
            held = found.get((part, name), SeenField(part, name, {}, (), 0))
            found[part, name] = SeenField(
                part=part,
                name=name,
                types=held.types | {kind: held.types.get(kind, 0) + count},
                sources=tuple(sorted({*held.sources, source_id})),
                last_seen_at=max(held.last_seen_at, at),
            )
        return sorted(found.values(), key=lambda item: (-item.seen, item.part, item.name))


def _is_fit(name: str) -> bool:
    """True for a name that may be stored: it could be declared, and is nobody's address or number."""
    return _NAME.fullmatch(name) is not None and not looks_personal(name) and not _LONG_NUMBER.search(name)
