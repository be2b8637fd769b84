"""Segments and lists: define, preview, evaluate, look up.

Steps of an evaluation:

1. Take the newest snapshot of the warehouse, then a snapshot of the store, which is therefore never older.
2. Parse the definition, and those it uses, against the fields declared now: a field that was sealed since
   refuses.
3. Run all distinct leaves in few passes and combine their sets.
4. Take away everybody restrained for ``segmentation``, also under a profile number that the warehouse
   does not know yet.
5. Record the use; only then is the result visible.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from pyroaring import BitMap

from cdp.audit import Entry
from cdp.clock import Clock, Micros
from cdp.errors import ConflictError, DefinitionError, NotFoundError
from cdp.policy import FieldCatalogue
from cdp.segments import queries
from cdp.segments.compile import Compiler, complemented, find
from cdp.segments.definition import Asked, Definition, Leaf, ListOf, leaves, settled
from cdp.segments.lists import Lists
from cdp.segments.membership import Evaluation
from cdp.segments.model import PURPOSE, Members, Preview, Segment
from cdp.segments.parse import parse
from cdp.segments.references import check_readable, classified, closure, reads
from cdp.store import Batch, Committer, Connection, Store
from cdp.warehouse import Warehouse

Source = str | bytes | Mapping[str, Any] | Definition
"""A definition as YAML or JSON text, as decoded data, or parsed."""


class _Result(msgspec.Struct, frozen=True):
    """One evaluation, before it is recorded."""

    bitmap: BitMap
    as_of: int
    now: Micros
    reads: frozenset[str]
    categories: frozenset[str]


class SegmentService:
    """Segments and lists.

    :param restrained: returns the profiles excluded from the purpose ``segmentation``, as the given
        connection sees them.
    :param unreadable: returns those of some data categories that no definition may read; raises while nothing
        may be evaluated at all.
    :param tag: returns the journal's tag of a blind index, hex.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        warehouse: Warehouse,
        fields: FieldCatalogue,
        clock: Clock,
        restrained: Callable[[Connection], BitMap],
        unreadable: Callable[[frozenset[str]], frozenset[str]],
        tag: Callable[[bytes], str],
    ) -> None:
        self._store = store
        self._committer = committer
        self.lists = Lists(store, committer, lambda: self._fields, tag)
        self._warehouse = warehouse
        self.adopt(fields)
        self._clock = clock
        self._restrained = restrained
        self._unreadable = unreadable
        self._compiler = Compiler()

    def adopt(self, fields: FieldCatalogue) -> None:
        """Hold definitions against these fields."""
        self._fields = fields

    # -- definitions ----------------------------------------------------------------------------

    def parse(self, source: Source, name: str | None = None) -> Definition:
        """Return a checked definition (see ``parse.parse``)."""
        return parse(source, self._fields, name)

    def preview(self, source: Source, *, actor: str = "system") -> Preview:
        """Count whom a definition finds, without storing it.

        :raises DefinitionError: it is refused.
        :raises UnavailableError: the warehouse cannot answer now.
        """
        started = time.perf_counter()
        definition = self.parse(source, "")
        (result,) = self._evaluate([definition])
        with self._committer.batch() as batch:
            batch.record(
                Entry(
                    action="segment.preview",
                    actor=actor,
                    purpose=PURPOSE,
                    object={"as_of": result.as_of},
                    people={"members": len(result.bitmap)},
                )
            )
        took = round((time.perf_counter() - started) * 1000)
        return Preview(count=len(result.bitmap), as_of=result.as_of, took_ms=took, members=result.bitmap)

    def apply(self, actor: str, source: Source, name: str | None = None) -> Segment:
        """Store a definition, as a new version if it differs from the newest, and evaluate it.

        :param name: the name to store it under, when ``source`` may leave it out.
        :raises DefinitionError: it is refused.
        """
        definition = self.parse(source, name)
        if not definition.name:
            raise DefinitionError("a segment that is stored needs a name")
        (result,) = self._evaluate([definition])
        with self._committer.batch(head_first=True) as batch:  # so that no two make a circle at once
            self._check(batch.connection, definition)
            held = queries.newest(batch.connection, definition.name).get(definition.name)
            if held is None or held.source != definition.source:
                held = queries.Stored(
                    definition.name,
                    1 if held is None else held.version + 1,
                    definition.source,
                    self._clock.now(),
                    actor,
                )
                queries.add_version(batch.connection, held, batch.id)
                target: dict[str, str | int] = {"segment": held.name, "version": held.version}
                batch.record(Entry(action="segment.apply", actor=actor, purpose=PURPOSE, object=target))
            self._keep(batch, actor, held.name, held.version, result)
        return self._segment(held)

    def get(self, name: str) -> Segment:
        """Return the newest version of a segment.

        :raises NotFoundError: there is none.
        """
        with self._store.reading() as connection:
            held = self._held(connection, name)
        return self._segment(held)

    def list(self) -> tuple[Segment, ...]:
        """Return every segment, by name."""
        with self._store.reading() as connection:
            found = queries.newest(connection)
        return tuple(self._segment(held) for held in found.values() if held.source is not None)

    def delete(self, actor: str, name: str) -> None:
        """Delete a segment; its versions stay on record.

        :raises ConflictError: another segment uses it.
        """
        with self._committer.batch(head_first=True) as batch:
            held = self._held(batch.connection, name)
            for other in queries.newest(batch.connection).values():
                if other.source is not None and _uses(other.source, name):
                    raise ConflictError(f"the segment {other.name} uses this one; change that first")
            gone = queries.Stored(name, held.version + 1, None, self._clock.now(), actor)
            queries.add_version(batch.connection, gone, batch.id)
            queries.drop_members(batch.connection, name)
            target: dict[str, str | int] = {"segment": name, "version": gone.version}
            batch.record(Entry(action="segment.delete", actor=actor, purpose=PURPOSE, object=target))

    def sql(self, name: str) -> str:
        """Return the SQL that evaluating a segment runs, leaf by leaf, those of used segments included."""
        with self._store.reading() as connection:
            definition = self._parsed(self._held(connection, name))
        snapshot = self._warehouse.snapshot()
        with self._store.reading() as connection:
            used = self._check(connection, definition)
        now = self._clock.now()
        wanted = [settled(leaf, now) for leaf in _distinct(definition, used) if isinstance(leaf, Asked)]
        passes = self._compiler(wanted, snapshot.tables, snapshot.dialect)
        return "\n\n".join(one.shown() for one in passes)

    # -- members --------------------------------------------------------------------------------

    def evaluate(self, name: str, *, actor: str = "system") -> Members:
        """Evaluate a segment now, store who is in it and return it.

        :raises NotFoundError: there is no such segment.
        :raises DefinitionError: it reads a field that is no longer clear, or uses what is gone.
        """
        return self.refresh([name], actor=actor)[0]

    def refresh(self, names: Sequence[str], *, actor: str = "system") -> tuple[Members, ...]:
        """Evaluate segments over one snapshot, in shared passes and one transaction.

        :raises NotFoundError: one of them does not exist.
        :raises DefinitionError: one reads a field that is no longer clear, or uses what is gone.
        """
        with self._store.reading() as connection:
            held = [self._held(connection, name) for name in names]
        definitions = [self._parsed(one) for one in held]
        results = self._evaluate(definitions)
        with self._committer.batch() as batch:
            for one, result in zip(held, results, strict=True):
                self._keep(batch, actor, one.name, one.version, result)
        return tuple(
            Members(
                name=one.name,
                version=one.version,
                definition=definition,
                bitmap=result.bitmap,
                as_of=result.as_of,
                computed_at=result.now,
                reads=result.reads,
                categories=result.categories,
            )
            for one, definition, result in zip(held, definitions, results, strict=True)
        )

    def members(self, name: str, *, actor: str = "system") -> Members:
        """Return who was in a segment when it was last evaluated, and is not restrained since.

        Evaluated anew when anybody came apart since; who did after what the warehouse knows is left out.

        :raises NotFoundError: there is no such segment.
        """
        with self._store.reading() as connection:
            held = self._held(connection, name)
            stored = queries.members(connection, name)
            definition = self._parsed(held)
            read, found = self._read(connection, definition)
            gone = BitMap() if stored is None else self._gone(connection, stored.as_of)
            parted = stored is not None and queries.parted_since(connection, stored.as_of)
        if stored is None or stored.version != held.version or parted:
            made = self.evaluate(name, actor=actor)
            with self._store.reading() as connection:
                unknown = queries.parted_since(connection, made.as_of)
            return msgspec.structs.replace(made, bitmap=made.bitmap - unknown)
        return Members(
            name=name,
            version=held.version,
            definition=definition,
            bitmap=stored.bitmap - gone,
            as_of=stored.as_of,
            computed_at=stored.computed_at,
            reads=read,
            categories=found,
        )

    def categories(self, definition: Definition) -> frozenset[str]:
        """Return every data category that a definition reads."""
        with self._store.reading() as connection:
            return self._read(connection, definition)[1]

    def read_by(self, connection: Connection, name: str) -> frozenset[str] | None:
        """Return every data category that a stored segment reads; None for one that no longer holds."""
        try:
            return self._read(connection, self._parsed(self._held(connection, name)))[1]
        except (DefinitionError, NotFoundError):
            return None

    # -- who is left out -----------------------------------------------------------------------

    def restrained(self, connection: Connection) -> BitMap:
        """Return the profiles that no segment holds any more, evaluated again or not."""
        return self._restrained(connection)

    def blocked(self, connection: Connection) -> BitMap:
        """Return the profiles on black lists, as ``connection`` sees them."""
        return queries.profiles_on(connection, "black")

    # -- inside ---------------------------------------------------------------------------------

    def _evaluate(self, definitions: Sequence[Definition]) -> tuple[_Result, ...]:
        snapshot = self._warehouse.snapshot()
        now = self._clock.now()
        found: dict[Leaf, BitMap] = {}
        with self._store.reading() as connection:
            used = [self._check(connection, definition) for definition in definitions]
            read = [self._read(connection, definition) for definition in definitions]
            wanted = {
                leaf: None
                for definition, others in zip(definitions, used, strict=True)
                for leaf in _distinct(definition, others)
            }
            for leaf in wanted:
                if isinstance(leaf, ListOf):
                    found[leaf] = snapshot.mapped(queries.list_identities(connection, leaf.name))
            gone = self._gone(connection, snapshot.commit_no)
        excluded = gone | snapshot.mapped(gone)
        everyone = snapshot.everyone - excluded
        passes = self._compiler(
            [settled(leaf, now) for leaf in wanted if isinstance(leaf, Asked)],
            snapshot.tables,
            snapshot.dialect,
        )
        sets, rest = find(passes, snapshot, now), complemented(passes)
        for leaf in wanted:
            if isinstance(leaf, Asked):
                key = settled(leaf, now)
                found[leaf] = everyone - sets[key] if rest[key] else sets[key]
        results = []
        for definition, others, names_and_categories in zip(definitions, used, read, strict=True):
            members = Evaluation(found, others, everyone)(definition.where) & everyone
            results.append(_Result(members, snapshot.commit_no, now, *names_and_categories))
        return tuple(results)

    def _gone(self, connection: Connection, as_of: int) -> BitMap:
        """Return who is restrained for ``segmentation`` now, by the numbers of now and those of ``as_of``.

        Of whoever was relinked since, every identity: a profile bears the number of one of its own.
        """
        restrained = self._restrained(connection)
        relinked = queries.relinked_since(connection, as_of)
        return restrained | BitMap(number for number, profile_no in relinked if profile_no in restrained)

    def _check(self, connection: Connection, definition: Definition) -> dict[str, Definition]:
        """Return the segments that ``definition`` uses.

        :raises DefinitionError: one of them, or a list, does not exist, or they form a circle.
        """
        stored = queries.newest(connection)
        used = closure(definition, lambda name: self._known(stored, name))
        known = queries.read_lists(connection)
        for leaf in _distinct(definition, used):
            if isinstance(leaf, ListOf) and leaf.name not in known:
                raise DefinitionError(f"where: there is no list {leaf.name}; import it first")
        return used

    def _read(self, connection: Connection, definition: Definition) -> tuple[frozenset[str], frozenset[str]]:
        """Return the names of what a definition reads, and their categories.

        :raises DefinitionError: the policies keep one of them from segments.
        """
        stored = queries.newest(connection)
        read = reads(definition, lambda name: self._known(stored, name))
        found = classified(read, self._fields, queries.list_categories(connection))
        check_readable(self._unreadable(found))
        return read, found

    def _known(self, stored: Mapping[str, queries.Stored], name: str) -> Definition | None:
        held = stored.get(name)
        return None if held is None or held.source is None else self._parsed(held)

    def _held(self, connection: Connection, name: str) -> queries.Stored:
        held = queries.newest(connection, name).get(name)
        if held is None or held.source is None:
            raise NotFoundError("there is no segment with this name")
        return held

    def _parsed(self, held: queries.Stored) -> Definition:
        try:
            return parse(held.source or {}, self._fields, held.name)
        except DefinitionError as error:
            raise DefinitionError(f"the segment {held.name} no longer holds: {error.message}") from error

    def _keep(self, batch: Batch, actor: str, name: str, version: int, result: _Result) -> None:
        stored = queries.StoredMembers(version, result.as_of, result.now, result.bitmap)
        queries.put_members(batch.connection, name, stored)
        batch.record(
            Entry(
                action="segment.evaluate",
                actor=actor,
                purpose=PURPOSE,
                object={"segment": name, "version": version, "as_of": result.as_of},
                people={"members": len(result.bitmap)},
            )
        )

    def _segment(self, held: queries.Stored) -> Segment:
        definition, problem = None, ""
        try:
            definition = self._parsed(held)
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


def _distinct(definition: Definition, used: Mapping[str, Definition]) -> dict[Leaf, None]:
    """Return every leaf of a definition and of those it uses, each once, in order."""
    return {leaf: None for part in (definition, *used.values()) for leaf in leaves(part.where)}


def _uses(source: Any, name: str) -> bool:
    """True when plain definition data names the segment, even where it no longer parses."""
    if isinstance(source, Mapping):
        return source.get("segment") == name or any(_uses(value, name) for value in source.values())
    return isinstance(source, list) and any(_uses(item, name) for item in source)
