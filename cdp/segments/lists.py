"""White, grey and black lists of people, by identity: merges and splits cannot corrupt them.

Invariant: who is put on a black list, or taken off it, is in the journal: a restore forgets nobody on one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import get_args

from pyroaring import BitMap

from cdp.audit import Entry
from cdp.errors import InvalidInputError
from cdp.journal import Fact, Listed
from cdp.policy import FieldCatalogue
from cdp.segments import queries
from cdp.segments.model import PURPOSE, ListKind, PeopleList
from cdp.segments.parse import parse
from cdp.segments.references import LIST_CATEGORY
from cdp.store import Batch, Committer, Connection, Store


class Lists:
    """The lists of one workspace."""

    def __init__(self, store: Store, committer: Committer, fields: Callable[[], FieldCatalogue]) -> None:
        self._store = store
        self._committer = committer
        self._fields = fields

    def every(self) -> tuple[PeopleList, ...]:
        """Return every list, by name."""
        with self._store.reading() as connection:
            return tuple(queries.read_lists(connection).values())

    def put(
        self,
        actor: str,
        name: str,
        kind: ListKind,
        identity_nos: Iterable[int],
        *,
        category: str = LIST_CATEGORY,
    ) -> PeopleList:
        """Make a white, grey or black list hold exactly these identities.

        :param category: the data category that standing on the list tells about a person.
        """
        if kind not in get_args(ListKind):
            raise InvalidInputError("a list is white, grey or black")
        parse({"where": {"list": name}}, self._fields(), "")  # a name that a definition can use
        found = BitMap(identity_nos)
        with self._committer.batch(head_first=True) as batch:
            held = queries.black_listed(batch.connection, name)
            queries.put_list(batch.connection, name, kind, category, found, batch.id)
            black = found if kind == "black" else BitMap()
            batch.facts.extend(
                Fact(identity_no=number, line=Listed(on=number in black), name=name)
                for number in black ^ held
            )
            batch.record(
                Entry(
                    action="list.put",
                    actor=actor,
                    purpose=PURPOSE,
                    object={"list": name, "kind": kind},
                    people={"entries": len(found)},
                )
            )
        return PeopleList(name=name, kind=kind, category=category, entries=len(found))

    # -- after a restore ------------------------------------------------------------------------

    @staticmethod
    def black(connection: Connection) -> tuple[str, ...]:
        """Return the names of the black lists."""
        return tuple(name for name, held in queries.read_lists(connection).items() if held.kind == "black")

    @staticmethod
    def add_black(batch: Batch, name: str, identity_nos: Iterable[int]) -> int:
        """Put people on a black list that a restore took them off; returns how many were missing."""
        return queries.add_black_listed(batch.connection, name, LIST_CATEGORY, identity_nos, batch.id)
