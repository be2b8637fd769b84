"""explorer: history, overlaps, funnels, retention and portraits of segments.

Invariants:

1. A table is of one snapshot of the warehouse and one moment; nothing of it is stored.
2. What it shows is on record before anybody gets it. History tells of definitions, not of people.
3. Counts leave here as sets, with the question that each answers: ``shown`` makes numbers of them, exact or
   noised, as the caller may see them.
4. Nobody is counted who is restrained for ``segmentation``, nor by a category that the policies keep from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyroaring import BitMap

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.errors import DefinitionError, InvalidInputError, NotFoundError
from cdp.policy import FieldRule
from cdp.segments.compile.retention import retention
from cdp.segments.definition import Definition, ListOf, Sample
from cdp.segments.definitions import Definitions, newest_of
from cdp.segments.evaluate import Evaluator
from cdp.segments.explore.attributes import attributes, described, tagged
from cdp.segments.explore.funnel import Funnel, FunnelQuestion, funnel, read_funnel
from cdp.segments.explore.history import Version, history
from cdp.segments.explore.overlap import MOST, Overlap, overlap
from cdp.segments.explore.portrait import Pictured, Portrait
from cdp.segments.explore.retention import Retention, RetentionQuestion, read_retention, retained
from cdp.segments.model import PURPOSE
from cdp.segments.reader import suggest
from cdp.segments.references import identifies
from cdp.segments.tags import queries as tag_queries
from cdp.segments.tags.model import TagDefinition
from cdp.store import Committer, Connection, Store
from cdp.warehouse import Warehouse

_EVERYONE = Definition("", "", Sample(1.0, ""), {})


class Explorer:
    """Answers what is asked of segments beside who is in them."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        warehouse: Warehouse,
        definitions: Definitions,
        evaluate: Evaluator,
        clock: Clock,
    ) -> None:
        self._store = store
        self._committer = committer
        self._warehouse = warehouse
        self._definitions = definitions
        self._evaluate = evaluate
        self._clock = clock

    def history(self, name: str) -> tuple[Version, ...]:
        """Return every version of a segment, the newest first, also of one that was deleted.

        :raises NotFoundError: there never was one.
        """
        with self._store.reading() as connection:
            found = history(connection, name)
        if not found:
            raise NotFoundError("there is no segment with this name, and never was")
        return found

    def overlap(self, names: Sequence[str], *, actor: str = "system") -> Overlap:
        """Return whom each two of some segments share.

        :raises InvalidInputError: they are not 2 to 20 different ones.
        :raises NotFoundError: one does not exist.
        :raises DefinitionError: one no longer holds.
        """
        if not 2 <= len(names) <= MOST or len(set(names)) < len(names):
            raise InvalidInputError(f"segments: these are 2 to {MOST} different names")
        with self._store.reading() as connection:
            stored = [newest_of(connection, name) for name in names]
        results = self._evaluate([self._definitions.parsed(one) for one in stored])
        members = BitMap.union(*(result.bitmap for result in results))
        self._record("segment.overlap", actor, results[0].as_of, members, segments=",".join(names))
        return overlap({one.name: one.version for one in stored}, results)

    def read_funnel(self, data: Mapping[str, Any]) -> FunnelQuestion:
        """Read a funnel that is asked for (see ``funnel.read_funnel``)."""
        return read_funnel(data, self._definitions.fields)

    def funnel(self, question: FunnelQuestion, *, actor: str = "system") -> Funnel:
        """Return how many people get how far.

        :raises DefinitionError: ``among`` does not exist, or something may not be read.
        """
        results = self._evaluate(question.parts)
        self._record("segment.funnel", actor, results[0].as_of, results[0].bitmap)
        return funnel(question, results)

    def read_retention(self, data: Mapping[str, Any]) -> RetentionQuestion:
        """Read a retention table that is asked for (see ``retention.read_retention``)."""
        return read_retention(data, self._definitions.fields)

    def retention(self, question: RetentionQuestion, *, actor: str = "system") -> Retention:
        """Return who came back in which period after they began.

        :raises DefinitionError: something may not be read, or there are no or too many cohorts.
        """
        snapshot, now = self._warehouse.snapshot(), self._clock.now()
        begins = question.begins(now)
        with self._store.reading() as connection:
            self._definitions.question(connection, question.whole)  # refuses what may not be read
            gone = self._evaluate.gone(connection, snapshot.commit_no)
        columns = retention(snapshot, question.start, question.back, begins, question.periods, now)
        everyone = snapshot.everyone - (gone | snapshot.mapped(gone))
        found = retained(question, columns, begins, everyone, snapshot.commit_no)
        members = BitMap.union(*(cohort.people.members for cohort in found.cohorts))
        self._record("segment.retention", actor, found.as_of, members)
        return found

    def portrait(
        self,
        name: str,
        wanted: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        *,
        actor: str = "system",
    ) -> Portrait:
        """Return what the people of a segment are like, against everyone.

        :param wanted: the traits to show, ``tags`` the tags; all that may be, unless either is given.
        :raises NotFoundError: there is no such segment, or no tag that is wanted.
        :raises DefinitionError: it no longer holds.
        :raises InvalidInputError: one of ``wanted`` is no trait that a portrait may show.
        """
        fields, everything = self._definitions.fields, wanted is None and tags is None
        with self._store.reading() as connection:
            stored = newest_of(connection, name)
            rules: list[FieldRule] = []
            left_out: list[str] = []
            for rule in described(fields, wanted or ()) if wanted or everything else ():
                if self._readable(connection, {"trait": rule.name, "op": "exists"}):
                    rules.append(rule)
                else:
                    left_out.append(rule.name)
            known = self._tags(connection, None if everything else tags or (), left_out)
        snapshot, now = self._warehouse.snapshot(), self._clock.now()
        shown = [
            *attributes(rules, fields, snapshot, now),
            *(tagged(tag, fields, snapshot, now) for tag in known),
        ]
        wheres = [where for one in shown for where in one.wheres]
        asked = [self._definitions.parsed(stored), *(Definition("", "", where, {}) for where in wheres)]
        group, *results = self._evaluate([*asked, _EVERYONE])
        found = iter(results)
        pictured = [
            Pictured(one, next(found).bitmap, tuple(next(found).bitmap for _ in one.choices)) for one in shown
        ]
        everyone = next(found).bitmap
        self._record(
            "segment.portrait", actor, group.as_of, group.bitmap, segment=name, version=stored.version
        )
        return Portrait(
            group.as_of,
            name,
            stored.version,
            group.question.definition.where,
            group.bitmap,
            everyone,
            tuple(pictured),
            tuple(left_out),
        )

    def _tags(
        self, connection: Connection, wanted: Sequence[str] | None, left_out: list[str]
    ) -> list[TagDefinition]:
        """Return the tags that a portrait may show; adds to ``left_out`` the names of the others.

        :param wanted: those to show; None: all.
        """
        held = {
            name: one for name, one in tag_queries.held(connection).items() if one.stored.source is not None
        }
        found = []
        for name in sorted(held) if wanted is None else wanted:
            if name not in held:
                raise NotFoundError(f"one of the tags given is none{suggest(name, list(held))}")
            if self._readable(connection, {"tag": name, "op": "exists"}):
                found.append(self._definitions.tag(held[name].stored))
            else:
                left_out.append(name)
        return found

    def _readable(self, connection: Connection, condition: Mapping[str, Any]) -> bool:
        """Return whether a portrait may show by whom a condition is met.

        The policies let segments read what it does, and it stands on no list and on nothing that names a
        person: a list may be of one.
        """
        try:
            definition = self._definitions.parse({"where": condition}, "")
            question = self._definitions.question(connection, definition)
        except DefinitionError:
            return False
        fields = self._definitions.fields
        return not any(isinstance(leaf, ListOf) or identifies(leaf, fields) for leaf in question.leaves)

    def _record(self, action: str, actor: str, as_of: int, members: BitMap, **target: str | int) -> None:
        """Record a use, before anybody sees what was found."""
        entry = Entry(
            action=action,
            actor=actor,
            purpose=PURPOSE,
            object={**target, "as_of": as_of},
            people={"members": len(members)},
        )
        with self._committer.batch() as batch:
            batch.record(entry)
