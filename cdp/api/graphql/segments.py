"""Segments: the same verbs and counts as REST."""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry.scalars import JSON

from cdp.api.auth import roles
from cdp.api.graphql.guard import Context, declared, guarded
from cdp.api.graphql.paging import Connection, connection, page_size
from cdp.api.paging import page_by_key
from cdp.api.rest.segments import apply_segment, counted, previewed
from cdp.clock import rfc3339
from cdp.errors import DefinitionError, NotFoundError
from cdp.export import segment_id
from cdp.segments import Segment

Info = strawberry.Info[Context, None]
_DEFINE = roles("marketer", "officer")


@declared(_DEFINE)
@strawberry.type(name="Segment")
class SegmentType:
    """A stored segment; ``count`` is exact for officers, with noise for others."""

    name: str
    version: int
    description: str | None
    definition: JSON
    problem: str | None
    created_at: str
    held: strawberry.Private[Segment]

    @strawberry.field
    def id(self, info: Info) -> str:
        """Return the id by which destinations know it."""
        return segment_id(info.context.services.keyring, self.held.name)

    @strawberry.field
    def count(self, info: Info) -> int | None:
        """Return how many it had when it was last evaluated."""
        shown: int | None = counted(info.context.services, info.context.caller, self.held)["count"]
        return shown


@declared(_DEFINE)
@strawberry.type
class SegmentPreview:
    """How many a definition finds."""

    count: int
    as_of: int
    took_ms: int


@strawberry.type
class SegmentQuery:
    """Queries on segments."""

    @guarded(_DEFINE)
    def segment(self, info: Info, name: str) -> SegmentType | None:
        """Find a segment by name; null when there is none."""
        try:
            return _segment(info.context.services.segments.get(name))
        except NotFoundError:
            return None

    @guarded(_DEFINE)
    def segments(
        self, info: Info, first: int | None = None, after: str | None = None
    ) -> Connection[SegmentType]:
        """List the segments by name."""
        held, size = info.context.services.segments.list(), page_size(first)
        page = page_by_key(held, size, after, "segments", lambda item: item.name)
        return connection(page, after, "segments", lambda item: (item.name,), _segment, len(held))

    @guarded(_DEFINE)
    def preview_segment(self, info: Info, definition: JSON) -> SegmentPreview:
        """Count whom a definition finds, without storing it."""
        return SegmentPreview(**previewed(info.context.services, info.context.caller, _mapping(definition)))


@strawberry.type
class SegmentMutation:
    """Mutations on segments."""

    @guarded(_DEFINE)
    def apply_segment(self, info: Info, name: str, definition: JSON) -> SegmentType:
        """Store a definition as the segment's newest version, and evaluate it."""
        return _segment(apply_segment(info.context.services, info.context.caller, name, _mapping(definition)))


def _mapping(definition: object) -> dict[str, Any]:
    if not isinstance(definition, dict):
        raise DefinitionError("a definition is an object")
    return definition


def _segment(held: Segment) -> SegmentType:
    return SegmentType(
        name=held.name,
        version=held.version,
        description=held.source.get("description"),
        definition=JSON(held.source),
        problem=held.problem or None,
        created_at=rfc3339(held.created_at),
        held=held,
    )
