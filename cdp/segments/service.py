"""Segments and lists: define, preview, evaluate, look up.

Whatever evaluates records that use; only then is the result visible.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from pyroaring import BitMap

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.errors import DefinitionError, NotFoundError, NotPermittedError
from cdp.identity import profiles_of
from cdp.policy import FieldCatalogue
from cdp.segments import queries
from cdp.segments.definition import Definition, Leaf, TagOf, leaves
from cdp.segments.definitions import Definitions, Source, check_unused, newest_of
from cdp.segments.evaluate import Evaluator, Result
from cdp.segments.explore import Explorer
from cdp.segments.follow import Follower
from cdp.segments.lists import Lists
from cdp.segments.model import PURPOSE, Change, Members, Preview, Segment
from cdp.segments.schema import schema
from cdp.segments.tags.schema import schema as tag_schema
from cdp.segments.tags.service import TagService
from cdp.segments.why import Explainer
from cdp.store import Batch, Committer, Connection, Store
from cdp.warehouse import Warehouse


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
        self._clock = clock
        self._definitions = Definitions(fields, unreadable)
        self._evaluate = Evaluator(store, warehouse, self._definitions, restrained, clock)
        self.follow = Follower(store, committer, warehouse, self._definitions, self._evaluate, clock)
        self.tags = TagService(store, committer, warehouse, self._definitions, self._evaluate, clock)
        self.why = Explainer(warehouse, self._definitions, self._evaluate, clock)
        self.explore = Explorer(store, committer, warehouse, self._definitions, self._evaluate, clock)
        self.lists = Lists(store, committer, lambda: self._definitions.fields, tag)

    def adopt(self, fields: FieldCatalogue) -> None:
        """Hold definitions against these fields."""
        self._definitions.adopt(fields)

    # -- definitions ----------------------------------------------------------------------------

    def parse(self, source: Source, name: str | None = None) -> Definition:
        """Return a checked definition (see ``parse.parse``)."""
        return self._definitions.parse(source, name)

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a definition under the fields of now."""
        return schema(self._definitions.fields)

    def tag_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a tag under the fields of now."""
        return tag_schema(self._definitions.fields)

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
            self._definitions.question(batch.connection, definition)
            newest = queries.newest(batch.connection, definition.name).get(definition.name)
            if newest is None or newest.source != definition.source:
                newest = queries.Stored(
                    definition.name,
                    1 if newest is None else newest.version + 1,
                    definition.source,
                    self._clock.now(),
                    actor,
                )
                queries.add_version(batch.connection, newest, batch.id)
                target: dict[str, str | int] = {"segment": newest.name, "version": newest.version}
                batch.record(Entry(action="segment.apply", actor=actor, purpose=PURPOSE, object=target))
            self._keep(batch, actor, newest, result)
        return self._definitions.segment(newest)

    def get(self, name: str) -> Segment:
        """Return the newest version of a segment.

        :raises NotFoundError: there is none.
        """
        with self._store.reading() as connection:
            return self._definitions.segment(newest_of(connection, name))

    def list(self) -> tuple[Segment, ...]:
        """Return every segment, by name."""
        with self._store.reading() as connection:
            found = queries.newest(connection)
        return tuple(self._definitions.segment(one) for one in found.values() if one.source is not None)

    def delete(self, actor: str, name: str) -> None:
        """Delete a segment; its versions stay on record.

        :raises ConflictError: another segment or a tag uses it.
        """
        with self._committer.batch(head_first=True) as batch:
            last = newest_of(batch.connection, name)
            check_unused(batch.connection, name, "segment")
            gone = queries.Stored(name, last.version + 1, None, self._clock.now(), actor)
            queries.add_version(batch.connection, gone, batch.id)
            queries.drop_members(batch.connection, name)
            target: dict[str, str | int] = {"segment": name, "version": gone.version}
            batch.record(Entry(action="segment.delete", actor=actor, purpose=PURPOSE, object=target))

    def sql(self, name: str, *, exact: bool) -> str:
        """Return the SQL that evaluating a segment runs, pass by pass, those of used segments included.

        :param exact: exact numbers about people may stand in it: thresholds of scores that were found.
        :raises NotPermittedError: they may not, and one does.
        """
        with self._store.reading() as connection:
            definition = self._definitions.parsed(newest_of(connection, name))
            question = self._definitions.question(connection, definition)
            found = self.tags.found(connection)
        if not exact and any(isinstance(leaf, TagOf) and leaf.name in found for leaf in question.used):
            raise NotPermittedError("the SQL holds thresholds found in what people did; it is for officers")
        return self._evaluate.sql(question)

    # -- members --------------------------------------------------------------------------------

    def evaluate(self, name: str, *, actor: str = "system") -> Members:
        """Evaluate a segment now, store who is in it and return it; a scheduled one only if it is due.

        :raises NotFoundError: there is no such segment.
        :raises DefinitionError: it reads a field that is no longer clear, or uses what is gone.
        """
        kept = self._kept(name)
        return self.refresh([name], actor=actor)[0] if kept is None else kept

    def refresh(self, names: Sequence[str], *, actor: str = "system") -> tuple[Members, ...]:
        """Evaluate segments over one snapshot, in shared passes and one transaction.

        Also those that are scheduled; of these who came and went is put on record. Others are followed
        (``follow``) from then on, as before.

        :raises NotFoundError: one of them does not exist.
        :raises DefinitionError: one reads a field that is no longer clear, or uses what is gone.
        """
        with self._store.reading() as connection:
            stored = [newest_of(connection, name) for name in names]
        results = self._evaluate([self._definitions.parsed(one) for one in stored])
        with self._committer.batch() as batch:
            for one, result in zip(stored, results, strict=True):
                if result.question.definition.schedule is not None:
                    self._tell(batch, one, result)
                self._keep(batch, actor, one, result)
        return tuple(
            Members(
                name=one.name,
                version=one.version,
                definition=result.question.definition,
                bitmap=result.bitmap,
                as_of=result.as_of,
                computed_at=result.now,
                reads=result.question.reads,
                categories=result.question.categories,
            )
            for one, result in zip(stored, results, strict=True)
        )

    def keep_schedules(self) -> int:
        """Evaluate the scheduled segments that are due, those that still hold; returns how many.

        :raises UnavailableError: the warehouse cannot answer now.
        """
        with self._store.reading() as connection:
            held = queries.newest(connection)
        due = []
        for name in (name for name, one in held.items() if one.source and "schedule" in one.source):
            try:
                if self._kept(name) is None:
                    due.append(name)
            except DefinitionError:
                continue
        if due:
            self.refresh(due)
        return len(due)

    def members(self, name: str, *, actor: str = "system") -> Members:
        """Return who was in a segment when it was last evaluated, and is not restrained since.

        Evaluated anew when anybody came apart since; who did after what the warehouse knows is left out. Of a
        scheduled one whoever came apart is left out until it is due.

        :raises NotFoundError: there is no such segment.
        """
        kept = self._kept(name)
        if kept is not None:
            return kept
        with self._store.reading() as connection:
            newest = newest_of(connection, name)
            stored = queries.members(connection, name)
            definition = self._definitions.parsed(newest)
            question = self._definitions.question(connection, definition)
            gone = BitMap() if stored is None else self._evaluate.gone(connection, stored.as_of)
            parted = stored is not None and queries.parted_since(connection, stored.as_of)
        due = definition.schedule is not None
        if stored is None or stored.version != newest.version or parted or due:
            made = self.evaluate(name, actor=actor)
            with self._store.reading() as connection:
                unknown = queries.parted_since(connection, made.as_of)
            return msgspec.structs.replace(made, bitmap=made.bitmap - unknown)
        return Members(
            name=name,
            version=newest.version,
            definition=definition,
            bitmap=stored.bitmap - gone,
            as_of=stored.as_of,
            computed_at=stored.computed_at,
            reads=question.reads,
            categories=question.categories,
        )

    def changes(self, after: int, limit: int = 1000) -> tuple[Change, ...]:
        """Return who entered and exited followed segments in the commits after ``after``, in their order."""
        with self._store.reading() as connection:
            return tuple(queries.changes_since(connection, after, limit))

    def categories(self, definition: Definition) -> frozenset[str]:
        """Return every data category that a definition reads."""
        with self._store.reading() as connection:
            return self._definitions.question(connection, definition).categories

    def leaves(self, definition: Definition) -> tuple[Leaf, ...]:
        """Return every condition of a definition, and of the segments and tags that it uses.

        :raises DefinitionError: one that it uses does not exist.
        """
        with self._store.reading() as connection:
            parts = (definition, *self._definitions.used(connection, definition).values())
        return tuple(leaf for part in parts for leaf in leaves(part.where))

    def read_by(self, connection: Connection, name: str) -> frozenset[str] | None:
        """Return every data category that a stored segment reads; None for one that no longer holds."""
        try:
            definition = self._definitions.parsed(newest_of(connection, name))
            return self._definitions.question(connection, definition).categories
        except (DefinitionError, NotFoundError):
            return None

    def all_read(self, connection: Connection) -> frozenset[str]:
        """Return the names (``references.reads``) of what the stored segments that still hold read."""
        names: set[str] = set()
        for stored in queries.newest(connection).values():
            if stored.source is None:
                continue
            with suppress(DefinitionError):
                definition = self._definitions.parsed(stored)
                names |= self._definitions.question(connection, definition).reads
        return frozenset(names)

    # -- who is left out -----------------------------------------------------------------------

    def restrained(self, connection: Connection) -> BitMap:
        """Return the profiles that no segment holds any more, evaluated again or not."""
        return self._evaluate.restrained(connection)

    def blocked(self, connection: Connection) -> BitMap:
        """Return the profiles on black lists, as ``connection`` sees them."""
        return queries.profiles_on(connection, "black")

    # -- inside ---------------------------------------------------------------------------------

    def _kept(self, name: str) -> Members | None:
        """Return the members that a scheduled segment has until it is due; None when it is, and of others."""
        with self._store.reading() as connection:
            newest = newest_of(connection, name)
            definition = self._definitions.parsed(newest)
            schedule, stored = definition.schedule, queries.members(connection, name)
            if schedule is None or stored is None or stored.version != newest.version:
                return None
            now = self._clock.now()
            if not schedule.due(now) <= stored.computed_at <= now:  # later than now: the clock was ahead
                return None
            question = self._definitions.question(connection, definition)
            gone = self._evaluate.gone(connection, stored.as_of)
            parted = queries.parted_since(connection, stored.as_of)
        return Members(
            name=name,
            version=newest.version,
            definition=definition,
            bitmap=stored.bitmap - gone - parted,
            as_of=stored.as_of,
            computed_at=stored.computed_at,
            reads=question.reads,
            categories=question.categories,
        )

    @staticmethod
    def _tell(batch: Batch, held: queries.Stored, result: Result) -> None:
        """Put on record who came and went since a scheduled segment was last due."""
        stored = queries.members(batch.connection, held.name)
        if stored is None or stored.version != held.version:
            return
        before = BitMap(profiles_of(batch.connection, stored.bitmap).values())
        now = BitMap(profiles_of(batch.connection, result.bitmap).values())
        change = Change(
            name=held.name,
            version=held.version,
            as_of=result.as_of,
            changed_at=result.now,
            entered=now - before,
            exited=before - now,
        )
        if change.entered or change.exited:
            queries.add_change(batch.connection, held.name, batch.id, change)

    def _keep(self, batch: Batch, actor: str, held: queries.Stored, result: Result) -> None:
        newer = queries.members(batch.connection, held.name)
        if newer is None or (newer.version, newer.as_of) <= (held.version, result.as_of):
            stored = queries.StoredMembers(held.version, result.as_of, result.now, result.bitmap)
            queries.put_members(batch.connection, held.name, stored)
        batch.record(
            Entry(
                action="segment.evaluate",
                actor=actor,
                purpose=PURPOSE,
                object={"segment": held.name, "version": held.version, "as_of": result.as_of},
                people={"members": len(result.bitmap)},
            )
        )
