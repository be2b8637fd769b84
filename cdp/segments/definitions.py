"""The stored definitions, as they hold against the fields and policies of the moment.

Invariant: a version never changes, so one that was parsed is parsed until the fields change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cdp.errors import DefinitionError, NotFoundError
from cdp.policy import FieldCatalogue
from cdp.segments import queries
from cdp.segments.definition import Asked, Definition, Leaf, ListOf, leaves
from cdp.segments.model import Segment
from cdp.segments.parse import parse
from cdp.segments.queries import Stored
from cdp.segments.references import check_readable, classified, closure, reads
from cdp.store import Connection

Source = str | bytes | Mapping[str, Any] | Definition
"""A definition as YAML or JSON text, as decoded data, or parsed."""


class Question(msgspec.Struct, frozen=True):
    """A definition with all that it takes to answer it.

    :param used: the segments that it uses, by name.
    :param reads: names of what is read (``references.reads``); ``categories`` what they are now.
    """

    definition: Definition
    used: dict[str, Definition]
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

    def parse(self, source: Source, name: str | None = None) -> Definition:
        """Return a checked definition (see ``parse.parse``)."""
        return parse(source, self.fields, name)

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
        self, connection: Connection, definition: Definition, stored: Mapping[str, Stored] | None = None
    ) -> Question:
        """Return a definition with what it uses and reads.

        :param stored: the newest versions, where they were read before.
        :raises DefinitionError: a segment or list that it uses does not exist, segments form a circle, or the
            policies keep something that it reads from segments.
        """
        newest = queries.newest(connection) if stored is None else stored
        used = closure(definition, lambda name: self._known(newest, name))
        question = Question(
            definition,
            used,
            reads(definition, lambda name: self._known(newest, name)),
            frozenset(),
        )
        lists = queries.list_categories(connection)
        for leaf in question.leaves:
            if isinstance(leaf, ListOf) and leaf.name not in lists:
                raise DefinitionError(f"where: there is no list {leaf.name}; import it first")
        categories = classified(question.reads, self.fields, lists)
        check_readable(self._unreadable(categories))
        return msgspec.structs.replace(question, categories=categories)

    def _known(self, stored: Mapping[str, Stored], name: str) -> Definition | None:
        held = stored.get(name)
        return None if held is None or held.source is None else self.parsed(held)


def newest_of(connection: Connection, name: str) -> Stored:
    """Return the newest version of a segment.

    :raises NotFoundError: there is none.
    """
    found = queries.newest(connection, name).get(name)
    if found is None or found.source is None:
        raise NotFoundError("there is no segment with this name")
    return found


def uses(source: Any, name: str) -> bool:
    """Return whether plain definition data names the segment, even where it no longer parses."""
    if isinstance(source, Mapping):
        return source.get("segment") == name or any(uses(value, name) for value in source.values())
    return isinstance(source, list) and any(uses(item, name) for item in source)
