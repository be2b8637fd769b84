"""A tracking plan, and what does not fit it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from cdp.clock import Micros
from cdp.ingest.model import EventType

Mode = Literal["observe", "quarantine", "block"]
"""What happens to an event that does not fit: stored and counted; kept for replay; refused, kept nowhere."""

NAMED: frozenset[EventType] = frozenset({"track", "page", "screen"})
"""Events that have a name, and properties; the others that a plan may name have traits."""
PLANNED: frozenset[EventType] = NAMED | {"identify", "group"}


class PlannedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan says of one event.

    :param name: empty for identify and group, and for every page or screen that is not named itself.
    :param schema: JSON Schema 2020-12 of its properties or traits; None where anything goes.
    """

    type: EventType
    name: str
    mode: Mode
    schema: dict[str, Any] | None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The tracking plan of a source.

    :param unplanned: what happens to events that it does not name.
    :param shared: schemas that those of events refer to (``$defs``).
    """

    mode: Mode
    unplanned: Literal["allow"] | Mode
    shared: dict[str, Any]
    events: tuple[PlannedEvent, ...]


class Violation(msgspec.Struct, frozen=True):
    """One way in which an event does not fit.

    :param place: ``properties.products[].sku``; ``*`` stands for a name that may not be told.
    :param kind: the keyword of JSON Schema, or ``unplanned``.
    """

    place: str
    kind: str


class SeenViolation(msgspec.Struct, frozen=True, kw_only=True):
    """How often events did not fit a version of a plan in one way."""

    version: int
    event: str
    place: str
    kind: str
    seen: int
    first_seen_at: Micros
    last_seen_at: Micros


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the plan of a source.

    :param source: the plan as it was given; None where the source has none from this version on.
    """

    source_id: int
    version: int
    source: dict[str, Any] | None
    created_at: Micros
    created_by: str
