"""What is known of the shape of what sources send: names, types and numbers."""

from __future__ import annotations

from typing import Literal

import msgspec

from cdp.clock import Micros

Part = Literal["properties", "traits", "context", "identifiers"]
"""Where in an event a field stands; ``traits`` are a person's, or of a group call the group's."""


class FieldShape(msgspec.Struct, frozen=True):
    """A field of an event of a source.

    :param name: as it was sent; in ``traits`` and ``context`` one level of nesting is joined by a dot.
    :param types: string, number, boolean, list, object or null → how often it was one.
    """

    part: Part
    name: str
    types: dict[str, int]
    first_seen_at: Micros
    last_seen_at: Micros

    @property
    def present(self) -> int:
        """In how many of the events that were looked at it was there."""
        return sum(self.types.values())


class EventShape(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a source.

    :param type: empty for all events of the source together, whose fields are context and identifiers.
    :param name: empty where the name stays out (``shapes.py``), and of calls that have none.
    :param seen: how often it came, and ``looked_at`` how many of those were looked at.
    """

    type: str
    name: str
    seen: int
    looked_at: int
    first_seen_at: Micros
    last_seen_at: Micros
    fields: tuple[FieldShape, ...] = ()

    def share(self, field: FieldShape) -> float:
        """Return in what share of the events that were looked at a field was there."""
        return min(1.0, field.present / self.looked_at) if self.looked_at else 0.0


class SeenField(msgspec.Struct, frozen=True, order=True):
    """A field that came without a declaration, from whichever source and event.

    :param part: ``traits`` or ``properties``, as in ``fields.yaml``, and ``name`` as it would be declared.
    :param types: JSON type → how often.
    """

    part: str
    name: str
    types: dict[str, int]
    sources: tuple[int, ...]
    last_seen_at: Micros

    @property
    def seen(self) -> int:
        """How often it came, among the events that were looked at."""
        return sum(self.types.values())
