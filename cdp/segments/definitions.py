"""The stored definitions, as they hold against the fields and policies of the moment.

Invariant: a version never changes, so one that was parsed is parsed until the fields change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Literal

import msgspec

from cdp.errors import ConflictError, DefinitionError, NotFoundError
from cdp.policy import FieldCatalogue
from cdp.segments import queries
from cdp.segments.definition import Asked, Definition, Leaf, ListOf, SegmentOf, TagOf, Used, leaves
from cdp.segments.model import Segment
from cdp.segments.parse import parse
from cdp.segments.queries import Stored
from cdp.segments.reader import suggest
from cdp.segments.references import check_readable, classified, closure, reads
from cdp.segments.tags import queries as tag_queries
from cdp.segments.tags.expand import expand
from cdp.segments.tags.model import TagDefinition
from cdp.segments.tags.parse import parse_tag
from cdp.segments.tags.queries import Held
from cdp.store import Connection

_KEPT = 10_000
Source = str | bytes | Mapping[str, Any] | Definition
"""A definition as YAML or JSON text, as decoded data, or parsed."""

TagSource = str | bytes | Mapping[str, Any]


class Question(msgspec.Struct, frozen=True):
    """A definition with all that it takes to answer it.

    :param used: what the segments and tags that it uses stand for.
    :param reads: names of what is read (``references.reads``); ``categories`` what they are now.
    """

    definition: Definition
    used: dict[Used, Definition]
    reads: frozenset[str]
    categories: frozenset[str]

    @property
    def leaves(self) -> dict[Leaf, None]:
        """Return every leaf of the definition and of those it uses, each once, in order."""
        return {leaf: None for part in (self.definition, *self.used.values()) for leaf in leaves(part.where)}

    @property
    def asked(self) -> list[Asked]:
        """Return the leaves that the warehouse answers."""
        return [leaf for leaf in self.leaves if isinstance(leaf, Asked)]


class Definitions:
    """Reads definitions.

    :param unreadable: returns those of some data categories that no definition may read; raises while nothing
        may be evaluated at all.
    """

    def __init__(
        self, fields: FieldCatalogue, unreadable: Callable[[frozenset[str]], frozenset[str]]
    ) -> None:
        self._unreadable = unreadable
        self.adopt(fields)

    def adopt(self, fields: FieldCatalogue) -> None:
        """Hold definitions against these fields."""
        self.fields = fields
        self._parsed: dict[tuple[str, int], Definition] = {}
        self._tags: dict[tuple[str, int], TagDefinition] = {}
        self._expanded: dict[object, Definition] = {}

    def parse(self, source: Source, name: str | None = None) -> Definition:
        """Return a checked definition (see ``parse.parse``)."""
        return parse(source, self.fields, name)

    def parse_tag(self, source: TagSource, name: str | None = None) -> TagDefinition:
        """Return a checked definition of a tag (see ``tags.parse.parse_tag``)."""
        return parse_tag(source, self.fields, name)

    def parsed(self, held: Stored) -> Definition:
        """Return a stored definition.

        :raises DefinitionError: it no longer holds: a field was sealed since.
        """
        known, key = self._parsed, (held.name, held.version)
        found = known.get(key)
        if found is None:
            try:
                found = known[key] = self.parse(held.source or {}, held.name)
            except DefinitionError as error:
                raise DefinitionError(f"the segment {held.name} no longer holds: {error.message}") from error
        return found

    def segment(self, held: Stored) -> Segment:
        """Return a stored segment, also one that no longer holds."""
        definition, problem = None, ""
        try:
            definition = self.parsed(held)
        except DefinitionError as error:
            problem = error.message
        return Segment(
            name=held.name,
            version=held.version,
            source=held.source or {},
            definition=definition,
            problem=problem,
            created_at=held.created_at,
            created_by=held.created_by,
        )

    def question(
        self,
        connection: Connection,
        definition: Definition,
        stored: Mapping[str, Stored] | None = None,
        also: frozenset[str] = frozenset(),
    ) -> Question:
        """Return a definition with what it uses and reads.

        :param stored: the newest versions, where they were read before.
        :param also: names of what the answer tells besides.
        :raises DefinitionError: a segment or list that it uses does not exist, segments form a circle, or the
            policies keep something that it reads from segments.
        """
        used = self.used(connection, definition, stored)
        question = Question(definition, used, reads([definition, *used.values()]) | also, frozenset())
        lists = queries.list_categories(connection)
        for leaf in question.leaves:
            if isinstance(leaf, ListOf) and leaf.name not in lists:
                raise DefinitionError(f"where: there is no list {leaf.name}; import it first")
        categories = classified(question.reads, self.fields, lists)
        check_readable(self._unreadable(categories))
        return msgspec.structs.replace(question, categories=categories)

    def used(
        self, connection: Connection, definition: Definition, stored: Mapping[str, Stored] | None = None
    ) -> dict[Used, Definition]:
        """Return what the segments and tags that a definition uses stand for.

        :raises DefinitionError: one does not exist, or they form a circle.
        """
        newest = cache(lambda: queries.newest(connection) if stored is None else stored)
        tags = cache(partial(tag_queries.held, connection))

        def resolve(leaf: Used) -> Definition:
            return self._tag(tags(), leaf) if isinstance(leaf, TagOf) else self._segment(newest(), leaf)

        return closure(definition, resolve)

    def tag(self, held: Stored) -> TagDefinition:
        """Return the definition of a stored tag.

        :raises DefinitionError: it no longer holds: a field was sealed since.
        """
        known, key = self._tags, (held.name, held.version)
        found = known.get(key)
        if found is None:
            try:
                found = known[key] = parse_tag(held.source or {}, self.fields, held.name)
            except DefinitionError as error:
                raise DefinitionError(f"the tag {held.name} no longer holds: {error.message}") from error
        return found

    def _segment(self, stored: Mapping[str, Stored], leaf: SegmentOf) -> Definition:
        held = stored.get(leaf.name)
        if held is None or held.source is None:
            known = [name for name, one in stored.items() if one.source is not None]
            hint = suggest(leaf.name, known)
            raise DefinitionError(f"where: there is no segment {leaf.name}{hint}; apply it first")
        return self.parsed(held)

    def _tag(self, tags: Mapping[str, Held], leaf: TagOf) -> Definition:
        """Return what a condition on a tag stands for."""
        held = tags.get(leaf.name)
        if held is None or held.stored.source is None:
            known = [name for name, one in tags.items() if one.stored.source is not None]
            hint = suggest(leaf.name, known)
            raise DefinitionError(f"where: there is no tag {leaf.name}{hint}; apply it first")
        definition, found = self.tag(held.stored), held.thresholds
        bounds = definition.thresholds if found is None else found.values
        key = leaf, type(leaf.value), held.stored.version, bounds
        if len(self._expanded) > _KEPT:
            self._expanded = {}
        expanded = self._expanded.get(key)
        if expanded is None:
            expanded = self._expanded[key] = expand(definition, bounds, leaf, self.fields)
        return expanded


def newest_of(connection: Connection, name: str) -> Stored:
    """Return the newest version of a segment.

    :raises NotFoundError: there is none.
    """
    found = queries.newest(connection, name).get(name)
    if found is None or found.source is None:
        raise NotFoundError("there is no segment with this name")
    return found


def check_unused(connection: Connection, name: str, kind: Literal["segment", "tag"]) -> None:
    """Refuse to go on while a segment or a tag uses this one, even one that no longer parses.

    :raises ConflictError: one does.
    """
    tags = (one.stored for one in tag_queries.held(connection).values())
    for other_kind, others in (("segment", queries.newest(connection).values()), ("tag", tags)):
        for other in others:
            if other.source is not None and _uses(other.source, name, kind):
                raise ConflictError(f"the {other_kind} {other.name} uses this {kind}; change that first")


def _uses(source: Any, name: str, kind: str) -> bool:
    """Return whether plain definition data names the segment or tag."""
    if isinstance(source, Mapping):
        return source.get(kind) == name or any(_uses(value, name, kind) for value in source.values())
    return isinstance(source, list) and any(_uses(item, name, kind) for item in source)
