"""Counts for keys that may not know them exactly (privacy.md, "Counts").

Invariants:

1. All keys that see noise have ``PER_DAY`` questions answered in a day (UTC), by all processes together: who
   holds two keys, or asks a colleague, learns no more. What one of them was told costs the next one nothing,
   since the noise is the same; so does asking again while nobody has come or gone.
2. No definition is counted that reads what names a person, or stands on a list of fewer than ``SHORT_LIST``
   people, itself or through another segment: either would turn the count into a look-up.
3. What is used up is on record before anybody sees the answer.
4. Cells of which nobody is in two (the values of a trait, the cohorts of a period) cost two answers together:
   that somebody is in one cell and not in another changes two of them, however many there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from pyroaring import BitMap

from cdp.clock import DAY, SECOND, Clock
from cdp.errors import NotPermittedError, OverloadedError
from cdp.policy import FieldCatalogue
from cdp.segments import queries as segment_queries
from cdp.segments.counting import queries
from cdp.segments.definition import Definition, ListOf
from cdp.segments.explore import Table
from cdp.segments.noise import fingerprint, noised, shifted
from cdp.segments.references import identifies
from cdp.segments.service import SegmentService
from cdp.store import Batch, Store

PER_DAY = 60
SHORT_LIST = 50


class Counting:
    """What may be counted, and how often.

    :param fields: returns what is declared now.
    :param secret: of the noise; at least 16 bytes.
    """

    def __init__(
        self,
        store: Store,
        segments: SegmentService,
        fields: Callable[[], FieldCatalogue],
        secret: bytes,
        clock: Clock,
    ) -> None:
        self._store = store
        self._segments = segments
        self._fields = fields
        self._secret = secret
        self._clock = clock

    def check(self, definition: Definition) -> None:
        """Refuse a definition whose count would be a look-up.

        :raises NotPermittedError: it names a person, or stands on a short list.
        """
        fields = self._fields()
        listed: set[str] = set()
        for leaf in self._segments.leaves(definition):
            if isinstance(leaf, ListOf):
                listed.add(leaf.name)
            elif identifies(leaf, fields):
                raise NotPermittedError("a count by what names a person is for officers")
        if listed:
            with self._store.reading() as connection:
                people = segment_queries.people_on_lists(connection, listed)
            if any(people.get(name, 0) < SHORT_LIST for name in listed):
                raise NotPermittedError(
                    f"a count on a list of fewer than {SHORT_LIST} people is for officers"
                )

    def noised(self, batch: Batch, actor: str, definition: Definition, members: BitMap) -> int:
        """Return the size of a definition's ``members`` as this key may see it, and charge for that.

        :param batch: taken head first, so that no two answers are charged at once.
        :raises OverloadedError: the questions of the day are used up.
        """
        question = repr(definition.where)
        if self.charge(batch, actor, [fingerprint(members, self._secret, question)[:16].hex()]) > PER_DAY:
            raise self._used_up()
        return noised(members, self._secret, question)

    def shown(self, batch: Batch, actor: str, tables: Sequence[Table]) -> list[list[int]]:
        """Return the numbers of tables as this key may see them, and charge for them.

        A table costs one answer, or two where it has several cells: nobody is in two of them, so they tell of
        somebody no more than in which of two cells they are.

        :param batch: taken head first, so that no two answers are charged at once.
        :raises NotPermittedError: these are more than a day has.
        :raises OverloadedError: the questions of the day are used up, or do not suffice for these.
        """
        drawn = [[fingerprint(one.members, self._secret, one.question) for one in table] for table in tables]
        answers = [answer for table in drawn for answer in _answers(table)]
        if len(set(answers)) > PER_DAY:
            raise NotPermittedError(
                f"this takes {len(set(answers))} counts, and all keys that see counts with noise share "
                f"{PER_DAY} a day; ask for less, or with an officer's key"
            )
        if self.charge(batch, actor, answers) > PER_DAY:
            raise self._used_up()
        return [
            [shifted(len(one.members), fingers) for one, fingers in zip(*pair, strict=True)]
            for pair in zip(tables, drawn, strict=True)
        ]

    def charge(self, batch: Batch, actor: str, answers: Sequence[str]) -> int:
        """Charge for ``answers`` to a key, each named so that the same one has the same name.

        :param batch: taken head first.
        :returns: how many different ones all keys have had today.
        """
        return queries.charge(batch.connection, actor, self._clock.now() // DAY, sorted(set(answers)))

    def advance(self, batch: Batch, actor: str, answers: Sequence[str]) -> None:
        """Charge for answers that a key has not seen yet; the last ones may overdraw.

        :param batch: taken head first, so that of many questions at once none is free.
        :raises OverloadedError: the questions of the day are used up.
        """
        if self.charge(batch, actor, []) >= PER_DAY:
            raise self._used_up()
        self.charge(batch, actor, answers)

    def give_back(self, batch: Batch, actor: str, answers: Sequence[str]) -> None:
        """Take back the charge for answers that were not given."""
        queries.give_back(batch.connection, actor, self._clock.now() // DAY, answers)

    def _used_up(self) -> OverloadedError:
        wait = (DAY - self._clock.now() % DAY) // SECOND + 1
        return OverloadedError(
            f"all keys that see counts with noise share {PER_DAY} a day, and today's are used up, or fewer "
            "than this takes; an officer's key counts without a limit",
            retry_after=wait,
        )


def _answers(table: Sequence[bytes]) -> list[str]:
    """Return what a table is charged as, given the fingerprints of its cells."""
    if len(table) == 1:
        return [table[0][:16].hex()]
    name = hashlib.sha256(b"".join(table)).hexdigest()[:32]
    return [f"{name} {half}" for half in range(2)]
