"""evaluate: definitions → the profiles that they find now, in the whole warehouse.

Steps:

1. Take the newest snapshot of the warehouse, then a snapshot of the store, which is therefore never older.
2. Hold the definitions, and those they use, against the fields declared now: a field that was sealed since
   refuses.
3. Run all distinct leaves in few passes and combine their sets.
4. Take away everybody restrained for ``segmentation``, also under a profile number that the warehouse
   does not know yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from pyroaring import BitMap

from cdp.clock import Clock, Micros
from cdp.errors import OutOfMemoryError
from cdp.segments import queries
from cdp.segments.compile import Compiler, complemented, find
from cdp.segments.definition import Asked, Definition, Leaf, ListOf, settled
from cdp.segments.definitions import Definitions, Question
from cdp.segments.membership import Evaluation
from cdp.store import Connection, Store
from cdp.warehouse import Focus, Snapshot, Warehouse


class Told(NamedTuple):
    """What the warehouse tells of one leaf.

    :param rest: the leaf holds for everyone *but* these profiles.
    """

    profiles: BitMap
    rest: bool


class Result(msgspec.Struct, frozen=True):
    """One evaluation, before it is recorded."""

    bitmap: BitMap
    as_of: int
    now: Micros
    question: Question


class Evaluator:
    """Evaluates definitions.

    :param restrained: returns the profiles excluded from the purpose ``segmentation``, as the given
        connection sees them.
    """

    def __init__(
        self,
        store: Store,
        warehouse: Warehouse,
        definitions: Definitions,
        restrained: Callable[[Connection], BitMap],
        clock: Clock,
    ) -> None:
        self._store = store
        self._warehouse = warehouse
        self._definitions = definitions
        self.restrained = restrained
        self._clock = clock
        self._compiler = Compiler()

    def __call__(self, definitions: Sequence[Definition]) -> tuple[Result, ...]:
        """Evaluate definitions over one snapshot, in shared passes.

        :raises DefinitionError: one cannot be answered under the fields and policies of now.
        :raises UnavailableError: the warehouse cannot answer now.
        """
        snapshot = self._warehouse.snapshot()  # 1
        now = self._clock.now()
        with self._store.reading() as connection:
            stored = queries.newest(connection) if len(definitions) > 1 else None  # one may use none
            questions = [self._definitions.question(connection, one, stored) for one in definitions]  # 2
            wanted = {leaf: None for question in questions for leaf in question.leaves}
            lists = {
                leaf: snapshot.mapped(queries.list_identities(connection, leaf.name))
                for leaf in wanted
                if isinstance(leaf, ListOf)
            }
            gone = self.gone(connection, snapshot.commit_no)
        told = self.tell(snapshot, [leaf for leaf in wanted if isinstance(leaf, Asked)], now)  # 3
        everyone = snapshot.everyone - (gone | snapshot.mapped(gone))  # 4
        return tuple(
            Result(combined(question, told, lists, everyone), snapshot.commit_no, now, question)
            for question in questions
        )

    def tell(self, snapshot: Snapshot | Focus, leaves: Iterable[Asked], now: Micros) -> dict[Asked, Told]:
        """Return what a snapshot tells of some leaves at ``now``.

        Where that needs more memory than there is, fewer leaves share a pass from then on.
        """
        moments = {leaf: settled(leaf, now) for leaf in leaves}
        while True:
            passes = self._compiler(dict.fromkeys(moments.values()), snapshot.tables, snapshot.dialect)
            try:
                found, rest = find(passes, snapshot, now), complemented(passes)
                break
            except OutOfMemoryError:
                if all(len(one.leaves) == 1 for one in passes):
                    raise
                self._compiler.narrow()
        return {leaf: Told(found[one], rest[one]) for leaf, one in moments.items()}

    def sql(self, question: Question) -> str:
        """Return the SQL that answers a question, pass by pass."""
        snapshot, now = self._warehouse.snapshot(), self._clock.now()
        moments = dict.fromkeys(settled(leaf, now) for leaf in question.asked)
        passes = self._compiler(moments, snapshot.tables, snapshot.dialect)
        return "\n\n".join(one.shown() for one in passes)

    def gone(self, connection: Connection, as_of: int) -> BitMap:
        """Return who is restrained for ``segmentation`` now, by the numbers of now and those of ``as_of``.

        Of whoever was relinked since, every identity: a profile bears the number of one of its own.
        """
        restrained = self.restrained(connection)
        relinked = queries.relinked_since(connection, as_of)
        return restrained | BitMap(number for number, profile_no in relinked if profile_no in restrained)


def combined(
    question: Question,
    told: Mapping[Asked, Told],
    lists: Mapping[ListOf, BitMap],
    everyone: BitMap,
) -> BitMap:
    """Return the profiles that a definition finds, given what its leaves do.

    :param everyone: all profiles that may be found.
    """
    return evaluation(question, told, lists, everyone)(question.definition.where) & everyone


def evaluation(
    question: Question,
    told: Mapping[Asked, Told],
    lists: Mapping[ListOf, BitMap],
    everyone: BitMap,
) -> Evaluation:
    """Return what answers each part of a definition; parameters as of ``combined``."""
    found: dict[Leaf, BitMap] = {leaf: profiles for leaf, profiles in lists.items()}  # noqa: C416  # widens the keys
    for leaf in question.asked:
        profiles, rest = told[leaf]
        found[leaf] = everyone - profiles if rest else profiles
    return Evaluation(found, question.used, everyone)
