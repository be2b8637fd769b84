"""White, grey and black lists of people, by identity: merges and splits cannot corrupt them.

Invariants:

1. Whoever stands on a list and is not known yet waits under the tag of their identifier, on lists of every
   kind: a segment may leave people out by a white list, too. The batch that makes their identity puts it on.
2. Nobody slips between the two: while a list is put no identity is made (``queries.known_now``), and a batch
   looks who waits after it has made its own.
3. Who is put on a black list, or taken off it, is in the journal, known or not: a restore forgets nobody on
   one. The tags are the journal's, so those that a restore finds there wait in the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import get_args

from pyroaring import BitMap

from cdp.audit import Entry
from cdp.errors import InvalidInputError
from cdp.identity import Resolved
from cdp.journal import Fact, Listed
from cdp.policy import FieldCatalogue
from cdp.segments import queries
from cdp.segments.model import PURPOSE, ListKind, PeopleList
from cdp.segments.parse import parse
from cdp.segments.references import LIST_CATEGORY
from cdp.store import Batch, Committer, Connection, Store, retrying


class Lists:
    """The lists of one workspace.

    :param tag: returns the journal's tag of a blind index, hex.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        fields: Callable[[], FieldCatalogue],
        tag: Callable[[bytes], str],
    ) -> None:
        self._store = store
        self._committer = committer
        self._fields = fields
        self._tag = tag

    def every(self) -> tuple[PeopleList, ...]:
        """Return every list, by name."""
        with self._store.reading() as connection:
            return tuple(queries.read_lists(connection).values())

    @staticmethod
    def categories(connection: Connection) -> dict[str, str]:
        """Return list name → the data category that standing on it tells."""
        return queries.list_categories(connection)

    @staticmethod
    def holding(connection: Connection, identity_nos: Collection[int]) -> list[tuple[int, PeopleList]]:
        """Return (identity_no, list) of every list that one of these stands on."""
        known = queries.read_lists(connection)
        found = queries.lists_with(connection, known, identity_nos)
        return sorted(
            ((number, known[name]) for number, name in found), key=lambda one: (one[1].name, one[0])
        )

    def put(
        self,
        actor: str,
        name: str,
        kind: ListKind,
        indexes: Collection[tuple[bytes, ...]],
        *,
        category: str = LIST_CATEGORY,
    ) -> PeopleList:
        """Make a white, grey or black list hold exactly the people with these identifiers.

        :param indexes: the blind indexes of each; somebody who is not known yet waits under the first.
        :param category: the data category that standing on the list tells about a person.
        """
        if kind not in get_args(ListKind):
            raise InvalidInputError("a list is white, grey or black")
        parse({"where": {"list": name}}, self._fields(), "")  # a name that a definition can use
        return retrying(lambda: self._put(actor, name, kind, indexes, category))

    def _put(
        self, actor: str, name: str, kind: ListKind, given: Collection[tuple[bytes, ...]], category: str
    ) -> PeopleList:
        with self._committer.batch() as batch:
            every = {index for indexes in given for index in indexes}
            number_of = queries.known_now(batch.connection, every)
            found = BitMap(number_of.values())
            tags = {self._tag_of(indexes[0]) for indexes in given if number_of.keys().isdisjoint(indexes)}
            put = PeopleList(name=name, kind=kind, category=category, entries=len(found))
            held, waited = queries.black_listed(batch.connection, name)
            queries.put_list(batch.connection, put, found, tags, batch.id)
            black, waiting = (found, tags) if kind == "black" else (BitMap(), set[bytes]())
            batch.facts.extend(
                Fact(identity_no=number, line=Listed(on=number in black), name=name)
                for number in black ^ held
            )
            batch.facts.extend(
                Fact(line=Listed(on=on), name=name, tags=tuple(tag.hex() for tag in sorted(changed)))
                for on, changed in ((True, waiting - waited), (False, waited - waiting))
                if changed
            )
            batch.record(
                Entry(
                    action="list.put",
                    actor=actor,
                    purpose=PURPOSE,
                    object={"list": name, "kind": kind},
                    people={"entries": len(found), "waiting": len(tags)},
                )
            )
        return put

    def arrived(self, batch: Batch, resolved: Resolved) -> None:
        """Put identities that this batch gave an index on the lists that wait for them."""
        if resolved.arrived is None or not queries.any_waits(batch.connection):
            return
        queries.enter_waiting(
            batch.connection, {self._tag_of(index): number for index, number in resolved.arrived().items()}
        )

    def _tag_of(self, index: bytes) -> bytes:
        return bytes.fromhex(self._tag(index))

    # -- after a restore ------------------------------------------------------------------------

    @staticmethod
    def black(connection: Connection) -> tuple[str, ...]:
        """Return the names of the black lists."""
        return tuple(name for name, held in queries.read_lists(connection).items() if held.kind == "black")

    @staticmethod
    def add_black(
        batch: Batch, name: str, identity_nos: Iterable[int], tags: Iterable[str]
    ) -> tuple[int, int]:
        """Put people on a black list that a restore took them off.

        :param tags: hex, of those who are not known.
        :returns: how many were missing on it, and how many who are not known.
        """
        waiting = [bytes.fromhex(tag) for tag in tags]
        return queries.add_black_listed(
            batch.connection, name, LIST_CATEGORY, identity_nos, waiting, batch.id
        )
