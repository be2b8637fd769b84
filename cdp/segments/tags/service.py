"""Computed tags: define, rebuild, look up, and say what they tell of people.

Nothing that a tag says is stored: it is found when it is asked for, by the same queries that find segments,
so it is as new as they are and rebuilt by asking again. Only the thresholds of scores are kept, as data with
the version, until the next rebuild.

Invariant: the category of what a tag tells is the one that ``fields.yaml`` gives the inference of its name:
whoever defines a tag has no say in it. What it is found from counts, too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import msgspec
import numpy as np
from pyroaring import BitMap

from cdp.audit import Entry
from cdp.clock import Clock, Micros
from cdp.errors import DefinitionError, NotFoundError
from cdp.identity import profiles_of
from cdp.segments import queries as segment_queries
from cdp.segments.compile import valued
from cdp.segments.definition import COUNTS, Any_, Definition, Event, ListOf, Node, Ratio, settled
from cdp.segments.definitions import Definitions, Question, TagSource, check_unused
from cdp.segments.evaluate import Evaluator, evaluation
from cdp.segments.explore.history import Version, versions
from cdp.segments.model import PURPOSE
from cdp.segments.queries import Stored
from cdp.segments.queries import list_identities as listed_on
from cdp.segments.tags import queries
from cdp.segments.tags.model import Tag, TagDefinition, TagValue, Thresholds
from cdp.segments.tags.queries import Held
from cdp.store import Batch, Committer, Connection, Store
from cdp.warehouse import Focus, Warehouse, declared, focus

LEAST = 10
"""So many people at least are in each class of a score: thresholds of fewer tell what some of them did."""


class TagService:
    """Computed tags."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        warehouse: Warehouse,
        definitions: Definitions,
        evaluator: Evaluator,
        clock: Clock,
    ) -> None:
        self._store = store
        self._committer = committer
        self._warehouse = warehouse
        self._definitions = definitions
        self._evaluator = evaluator
        self._clock = clock

    # -- definitions ----------------------------------------------------------------------------

    def apply(self, actor: str, source: TagSource, name: str | None = None) -> Tag:
        """Store a definition, as a new version if it differs from the newest; a score is rebuilt then.

        :param name: the name to store it under, when ``source`` may leave it out.
        :raises DefinitionError: it is refused.
        :raises UnavailableError: it is a score, and the warehouse cannot answer now.
        """
        definition = self._definitions.parse_tag(source, name)
        with self._store.reading() as connection:
            known = queries.held(connection, definition.name).get(definition.name)
        changes = known is None or known.stored.source != definition.source
        made = self._thresholds(actor, definition) if definition.rebuilt and changes else None
        with self._committer.batch(head_first=True) as batch:  # so that no two make a circle at once
            self._question(batch.connection, definition)
            held = queries.held(batch.connection, definition.name).get(definition.name)
            newest = None if held is None else held.stored
            if newest is None or newest.source != definition.source:
                version = 1 if newest is None else newest.version + 1
                newest = Stored(definition.name, version, definition.source, self._clock.now(), actor)
                queries.add(batch.connection, newest, batch.id)
                self._record(batch, actor, "tag.apply", newest)
                if made is not None:
                    self._keep(batch, actor, newest, made)
        return self.get(definition.name)

    def rebuild(self, actor: str, name: str) -> Tag:
        """Find the thresholds of a score anew; those before stay on record. Other tags have none to find.

        :raises NotFoundError: there is no such tag.
        :raises DefinitionError: it no longer holds, or too few people have what is scored.
        :raises UnavailableError: the warehouse cannot answer now.
        """
        with self._store.reading() as connection:
            stored = self._newest(connection, name).stored
        definition = self._definitions.tag(stored)
        made = self._thresholds(actor, definition) if definition.rebuilt else None
        if made is not None:
            with self._committer.batch() as batch:
                self._keep(batch, actor, stored, made)
        return self.get(name)

    def get(self, name: str) -> Tag:
        """Return the newest version of a tag.

        :raises NotFoundError: there is none.
        """
        with self._store.reading() as connection:
            return self._shown(self._newest(connection, name))

    def history(self, name: str) -> tuple[Version, ...]:
        """Return every version of a tag, the newest first, also of one that was deleted.

        :raises NotFoundError: there never was one.
        """
        with self._store.reading() as connection:
            found = versions(queries.every_version(connection, name))
        if not found:
            raise NotFoundError("there is no tag with this name, and never was")
        return found

    def all(self) -> tuple[Tag, ...]:
        """Return every tag, by name."""
        with self._store.reading() as connection:
            found = queries.held(connection)
        return tuple(self._shown(one) for one in found.values() if one.stored.source is not None)

    def delete(self, actor: str, name: str) -> None:
        """Delete a tag; its versions stay on record.

        :raises NotFoundError: there is no such tag.
        :raises ConflictError: a segment or another tag uses it.
        """
        with self._committer.batch(head_first=True) as batch:
            connection = batch.connection
            last = self._newest(connection, name).stored
            check_unused(connection, name, "tag")
            gone = Stored(name, last.version + 1, None, self._clock.now(), actor)
            queries.add(connection, gone, batch.id)
            self._record(batch, actor, "tag.delete", gone)

    def found(self, connection: Connection) -> frozenset[str]:
        """Return the tags whose thresholds were found in what people did."""
        return frozenset(name for name, one in queries.held(connection).items() if one.thresholds is not None)

    # -- what they say --------------------------------------------------------------------------

    def values(self, connection: Connection, profiles: BitMap) -> dict[int, list[TagValue]]:
        """Return what every tag says of some profiles now, as the store has them.

        A tag that cannot be answered, or that the policies keep from being, says nothing; nor does any
        of those who are restrained.
        """
        tags = [one for one in queries.held(connection).values() if one.stored.source is not None]
        profiles = profiles - self._evaluator.restrained(connection)
        found: dict[int, list[TagValue]] = {}
        if not tags or not profiles:
            return found
        segments = segment_queries.newest(connection)
        now, columns = self._clock.now(), declared(self._definitions.fields)
        with closing(focus(connection, profiles, columns, self._warehouse.trust)) as facts:
            for held in tags:
                try:
                    definition = self._definitions.tag(held.stored)
                    question = self._question(connection, definition, segments)
                    if definition.cases:
                        told = self._classes(connection, definition, question, facts, now)
                    else:
                        told = self._amounts(definition, held, facts, now)
                except DefinitionError:
                    continue
                for profile_no, value in told.items():
                    one = TagValue(definition.name, held.stored.version, value, question.categories)
                    found.setdefault(profile_no, []).append(one)
        return found

    # -- inside ---------------------------------------------------------------------------------

    def _classes(
        self, connection: Connection, definition: TagDefinition, question: Question, facts: Focus, now: Micros
    ) -> dict[int, Any]:
        """Return the value of whoever a case, or none of them, holds for."""
        lists = {
            leaf: BitMap(profiles_of(connection, listed_on(connection, leaf.name) & facts.numbers).values())
            for leaf in question.leaves
            if isinstance(leaf, ListOf)
        }
        told = self._evaluator.tell(facts, question.asked, now)
        holds = evaluation(question, told, lists, facts.everyone)
        left, found = facts.everyone.copy(), dict[int, Any]()
        for case in definition.cases:
            here = holds(case.where) & left
            left -= here
            found |= dict.fromkeys(here, case.value)
        return found if definition.otherwise is None else found | dict.fromkeys(left, definition.otherwise)

    @staticmethod
    def _amounts(definition: TagDefinition, held: Held, facts: Focus, now: Micros) -> dict[int, Any]:
        """Return the amount, ratio or score of whoever has one."""
        leaf = settled(_of(definition), now)
        columns = valued(leaf, facts, now)
        amounts = dict(zip(columns["profile_no"].tolist(), columns["amount"].tolist(), strict=True))
        if definition.form == "amount" and _counts(leaf):
            return dict.fromkeys(facts.everyone, 0) | amounts
        if definition.form != "score":
            return amounts
        bounds = definition.thresholds if held.thresholds is None else held.thresholds.values
        if bounds is None:
            return {}
        places = {profile_no: bisect_left(bounds, amount) for profile_no, amount in amounts.items()}
        last = len(bounds)
        return {
            profile_no: (last - place if definition.lowest_best else place) + 1
            for profile_no, place in places.items()
        }

    def _thresholds(self, actor: str, definition: TagDefinition) -> Thresholds:
        """Find the quantiles of what a score is given to, among all who are not restrained."""
        snapshot, now = self._warehouse.snapshot(), self._clock.now()
        with self._store.reading() as connection:
            self._question(connection, definition)
            gone = self._evaluator.gone(connection, snapshot.commit_no)
        columns = valued(settled(_of(definition), now), snapshot, now)
        everyone = snapshot.everyone - (gone | snapshot.mapped(gone))
        counted = np.isin(columns["profile_no"], np.array(everyone, dtype=np.int64))
        amounts = np.sort(np.asarray(columns["amount"], dtype=np.float64)[counted])
        if len(amounts) < LEAST * definition.into:
            refused = Entry(
                action="tag.rebuild",
                actor=actor,
                outcome="denied",
                purpose=PURPOSE,
                object={"tag": definition.name},
                people={"evaluated": len(amounts)},
            )
            with self._committer.batch() as batch:  # everybody was looked at
                batch.record(refused)
            raise DefinitionError(
                f"a score of {definition.into} classes needs {LEAST * definition.into} people who have what "
                "it is given to; there are fewer: give thresholds instead of into, or fewer classes"
            )
        bounds = [-(-len(amounts) * place // definition.into) - 1 for place in range(1, definition.into)]
        return Thresholds(
            version=0,
            values=tuple(float(amounts[bound]) for bound in bounds),
            people=len(amounts),
            as_of=snapshot.commit_no,
            computed_at=now,
        )

    def _question(
        self,
        connection: Connection,
        definition: TagDefinition,
        segments: Mapping[str, Stored] | None = None,
    ) -> Question:
        """Return all that it takes to answer a tag.

        :param segments: the newest versions, where they were read before.
        :raises DefinitionError: the policies do not say what it tells, or keep that or an input back.
        """
        if definition.name not in self._definitions.fields.inferences:
            raise DefinitionError(
                f"what the tag {definition.name} tells is not declared, so it counts as sensitive: declare "
                "it under inferences in policies/fields.yaml, with its category and what it is drawn from"
            )
        where: Node = (
            Any_(tuple(case.where for case in definition.cases)) if definition.cases else _of(definition)
        )
        whole = Definition(f"tag {definition.name}", "", where, definition.source)
        also = frozenset({f"tag:{definition.name}"})
        return self._definitions.question(connection, whole, segments, also)

    def _newest(self, connection: Connection, name: str) -> Held:
        found = queries.held(connection, name).get(name)
        if found is None or found.stored.source is None:
            raise NotFoundError("there is no tag with this name")
        return found

    def _shown(self, held: Held) -> Tag:
        definition, problem, stored = None, "", held.stored
        try:
            definition = self._definitions.tag(stored)
        except DefinitionError as error:
            problem = error.message
        return Tag(
            name=stored.name,
            version=stored.version,
            source=stored.source or {},
            definition=definition,
            problem=problem,
            category=self._definitions.fields.inference_category(stored.name),
            thresholds=held.thresholds,
            created_at=stored.created_at,
            created_by=stored.created_by,
        )

    @staticmethod
    def _record(batch: Batch, actor: str, action: str, stored: Stored, people: int | None = None) -> None:
        target: dict[str, str | int] = {"tag": stored.name, "version": stored.version}
        counted = {} if people is None else {"evaluated": people}
        batch.record(Entry(action=action, actor=actor, purpose=PURPOSE, object=target, people=counted))

    def _keep(self, batch: Batch, actor: str, stored: Stored, found: Thresholds) -> None:
        found = msgspec.structs.replace(found, version=stored.version)
        queries.add_thresholds(batch.connection, stored.name, found, batch.id)
        self._record(batch, actor, "tag.rebuild", stored, found.people)


def _counts(leaf: Event | Ratio) -> bool:
    return isinstance(leaf, Event) and leaf.aggregate is not None and leaf.aggregate.function in COUNTS


def _of(definition: TagDefinition) -> Event | Ratio:
    assert definition.of is not None  # noqa: S101  # a tag without cases has it
    return definition.of
