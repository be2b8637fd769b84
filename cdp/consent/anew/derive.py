"""Deriving the states of everybody under other policies, ahead of them or when they have come in force.

The steps:

1. **Begin**: the names (``Rules.names``) under which nothing is kept yet are noted with the commit of now. A
   purpose of which nothing changed has its name already, so its states stay as they are.
2. **Make**: page after page of the people about whom something was recorded, from a snapshot each; most of
   them at once, as columns (``plain.py``), the others one by one. Of two who make the same page one stores
   it. What was begun is taken up where it was left.
3. **Catch up**, ahead now and then, and once the policies are in force: whoever was spoken about or relinked
   since the beginning, or since the last time, is derived one by one, locked, as every batch does with those
   that it touches.
4. **Mark** the names as whole, in one commit: from here on the states are served. Those that neither the
   policies in force nor a proposal need are discarded, and deleted by and by.

Invariants:

1. Nothing is served but what is whole in the reader's own snapshot (``ConsentLedger``), so 1 and 2 disturb
   nobody: the states of the policies in force lie beside them, and stopping anywhere changes nothing.
2. What was made ahead bears no batch: nobody has seen it, so it is no change to anybody. Once it is in force
   everything is decided anew, because the bundle is another one.
3. Every batch under the policies in force keeps the states under their names, whole or not; so a state in the
   table is never older than the commit at which its name was begun, nor older than its person's last change
   while those policies are in force.
4. Marking needs that the policies are those of the beginning (``Batch.policies``): if others were in force
   meanwhile, batches kept other states, and what was spoken about since is caught up with again.
5. A page that was read before somebody was erased, or other policies came in force, is not stored.
6. A batch under policies whose states are not whole yet shares the rows of their names, and a clearing takes
   that of its name: so no page, mark or deletion comes between what a batch reads and its commit.
7. Nothing is made ahead for policies that take other types of identifiers for devices: identity tells of
   devices by the policies in force.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import msgspec
from pyroaring import BitMap

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.consent import queries as records
from cdp.consent.anew import plain, queries
from cdp.consent.anew.queries import Derived
from cdp.consent.derive import derive
from cdp.consent.model import Member, Standing
from cdp.consent.rules import Rules
from cdp.consent.service import ConsentLedger
from cdp.consent.states import queries as states
from cdp.policy import Bundle, lineage
from cdp.store import Batch, Committer, Connection, chunks, policies_version, read_head, retrying

_PAGE = 5_000  # people read as columns; what is stored of them holds SQLite's writer for some 30 ms
_LOCKED = 1_000  # people derived in one transaction that locks them
_FAR = 1_000  # so many commits behind, a candidate is noted as caught up with though nobody spoke
_NOTHING = Derived("made", upto=0, after=0)
"""Where nothing was begun."""


T = TypeVar("T")


class People(Protocol):
    """What deriving needs to know of identities, injected because identity stands above consent."""

    def alone(self, connection: Connection, after: int, upto: int) -> plain.Numbers:
        """Return the identities above ``after``, up to ``upto``, that are a profile by themselves."""
        ...

    def devices(self, connection: Connection, identity_nos: Iterable[int]) -> set[int]:
        """Return those of some identities that are devices."""
        ...

    def profiles_of(self, connection: Connection, identity_nos: Iterable[int]) -> dict[int, int]:
        """Return identity_no → profile_no; who is not there any more is absent."""
        ...

    def consent_members(
        self, connection: Connection, profile_nos: Iterable[int]
    ) -> Mapping[int, Sequence[Member]]:
        """Return profile_no → its members."""
        ...

    def relinked_since(self, connection: Connection, commit_no: int) -> BitMap:
        """Return every identity of whose links to others anything changed after a commit."""
        ...

    def lock(self, connection: Connection, touched: Collection[int]) -> Mapping[int, tuple[int, int]]:
        """Lock whole components; returns identity_no → (profile_no, …) of all their members."""
        ...


class Progress(msgspec.Struct, frozen=True):
    """How far the states of a bundle have come.

    :param purposes: of how many of its purposes states are to be made still.
    :param reached: up to which identity number they are made; ``of``: the highest that there is.
    """

    purposes: int
    reached: int
    of: int


class _LostError(Exception):
    """Somebody else made this page, or nobody wants it any more."""


class Deriving:
    """Derives everybody's states anew."""

    def __init__(self, committer: Committer, ledger: ConsentLedger, people: People, clock: Clock) -> None:
        self._committer = committer
        self._ledger = ledger
        self._people = people
        self._clock = clock

    # -- ahead ----------------------------------------------------------------------------------

    def prepare(self, bundle: Bundle, pages: int | None = None) -> bool:
        """Make the states that a candidate needs, and catch up with those that are made.

        :param pages: at most so many; all when None.
        :returns: whether there is nothing left to be made ahead.
        """
        rules = Rules(bundle)
        made = self._make(rules, pages, ahead=True)
        if made:
            with contextlib.suppress(_LostError):
                self._follow(rules)
        return made

    def progress(self, bundle: Bundle) -> Progress | None:
        """Return how far the states of a bundle have come; None when all are made."""
        with self._committer.store.reading() as connection:
            held = queries.derived(connection)
            begun = [held.get(name, _NOTHING) for name in Rules(bundle).names.values()]
            left = [one.after or 0 for one in begun if not one.is_made]
            return Progress(len(left), min(left), queries.highest(connection)) if left else None

    # -- in force -------------------------------------------------------------------------------

    def settle(self, actor: str = "system") -> None:
        """Have the states of the policies in force whole, deriving what is missing.

        Until then consent is not served, so this is called before anything is, and when other policies come
        in force.
        """
        while not self._is_whole():
            under, rules = self._commit(self._begin_settling), self._ledger.rules
            self._make(rules, None, ahead=False)
            touched, _ = self._touched(rules.names.values())
            for page in chunks(touched, _LOCKED):
                self._refresh(page)
            counts = {"caught_up": len(touched)}
            entry = Entry(action="consent.rebuild", actor=actor, counts=counts)
            self._commit(partial(_mark, rules.names.values(), under, entry))

    def rebuild(self, actor: str) -> int:
        """Derive everybody's states one by one and put right what differs, while they are served.

        :returns: the number of identities with a record.
        """
        self.settle(actor)
        count = after = 0
        while page := self._spoken(after):
            self._refresh(page)
            count, after = count + len(page), page[-1]
        entry = Entry(action="consent.rebuild", actor=actor, counts={"identities": count})
        self._commit(lambda batch: batch.record(entry))
        return count

    def clear(self, candidates: Iterable[Bundle], pages: int) -> None:
        """Delete states that neither the policies in force nor candidates need, at most so many pages."""
        ahead = {name for one in candidates for name in Rules(one).names.values()}
        wanted = ahead.union(self._ledger.rules.names.values())
        with self._committer.store.reading() as connection:
            held = queries.derived(connection)
        if any(one.condition == "made" and name not in wanted for name, one in held.items()):
            held = self._commit(partial(self._discard, ahead))
        for name in sorted(name for name, one in held.items() if one.condition == "discarded"):
            while pages > 0 and not self._cleared(name):
                pages -= 1

    # -- how ------------------------------------------------------------------------------------

    def _begin_settling(self, batch: Batch) -> int:
        self._ledger.begin_deriving(batch)
        return batch.policies

    def _discard(self, ahead: Collection[str], batch: Batch) -> Mapping[str, Derived]:
        names = {*ahead, *self._ledger.rules.names.values()}
        queries.discard(batch.connection, names, made=True)
        return queries.derived(batch.connection)

    def _is_whole(self) -> bool:
        with self._committer.store.reading() as connection:
            return self._ledger.is_derived(connection)

    def _make(self, rules: Rules, pages: int | None, *, ahead: bool) -> bool:
        """Do steps 1 and 2; returns whether all is made."""
        while True:
            with self._committer.store.reading() as connection:
                held = queries.derived(connection)
            for name in rules.names.values():
                while held.get(name, _NOTHING).condition == "discarded" and not self._cleared(name):
                    pass
            if rules.devices != self._ledger.rules.devices:
                return True
            begun = {
                key: held[name]
                for key, name in rules.names.items()
                if name in held and held[name].condition != "discarded"
            }
            if begun.keys() != rules.names.keys():
                self._commit(lambda batch: queries.begin(batch.connection, rules.names.values()))
                continue
            left = [one.after for one in begun.values() if one.after is not None]
            if not left:
                return True
            if pages is not None:
                pages -= 1
                if pages < 0:
                    return False
            after = min(left)
            purposes = [key for key, one in begun.items() if one.after == after]
            self._make_page(rules, purposes, after, ahead=ahead)

    def _make_page(self, rules: Rules, purposes: Collection[str], after: int, *, ahead: bool) -> None:
        """Make the states of some purposes for the next people; nothing when somebody else did."""
        keys = sorted({above for key in purposes for above in lineage(key)})
        with self._committer.store.reading() as connection:
            _, epoch = read_head(connection)
            policies = policies_version(connection)
            page = records.speakers(connection, after, _PAGE, keys)
            made = list(self._states(connection, rules, purposes, keys, after, page[-1])) if page else []
        names = [rules.names[key] for key in purposes]

        def store(batch: Batch) -> None:
            if (batch.epoch, batch.policies) != (epoch, policies):
                raise _LostError
            self._check_devices(rules)
            if not queries.advance(batch.connection, names, after, page[-1] if page else None):
                raise _LostError
            states.add_missing_states(batch.connection, states.AHEAD if ahead else batch.id, made)

        with contextlib.suppress(_LostError):
            self._commit(store)

    def _states(
        self,
        connection: Connection,
        rules: Rules,
        purposes: Collection[str],
        keys: Sequence[str],
        after: int,
        upto: int,
    ) -> Iterator[tuple[int, str, Standing]]:
        """Yield (profile_no, name, state) of the people above ``after``, up to ``upto``."""
        now = self._clock.now()
        stated = [rules.purposes[key] for key in purposes]
        notices = sorted({(one.id, one.version) for purpose in stated for one in purpose.notices})
        said = queries.said(connection, keys, notices, after, upto)
        alone = self._people.alone(connection, after, upto)
        told = said.identity[said.kind == plain.INFORMED].tolist()
        devices = self._people.devices(connection, told) if told else set[int]()
        several = [(purpose, *plain.states(purpose, said, alone, devices, now)) for purpose in stated]
        intricate = BitMap(number for _, _, rest in several for number in rest.tolist())
        for purpose, found, _ in several:
            name = rules.names[purpose.key]
            yield from ((no, name, one) for no, one in found.items() if no not in intricate)
        homes = set(self._people.profiles_of(connection, intricate).values())
        members = self._people.consent_members(connection, homes)
        for (no, key), one in derive(connection, rules, members, now, purposes).items():
            yield no, rules.names[key], one

    def _follow(self, rules: Rules) -> None:
        """Catch up with states that were made ahead, so that little remains for the switch.

        :raises _LostError: other types of identifiers are taken for devices meanwhile.
        """
        names = [rules.names[key] for key in rules.other_than(self._ledger.rules)]
        touched, upto = self._touched(names)
        for page in chunks(touched, _LOCKED):
            self._refresh(page, rules)
        if upto:
            self._commit(lambda batch: queries.move(batch.connection, names, upto))

    def _touched(self, names: Collection[str]) -> tuple[BitMap, int]:
        """Return who was spoken about or relinked since the first of these names was begun or caught up with.

        :returns: identities; and the commit until which, 0 where too little happened to note it.
        """
        with self._committer.store.reading() as connection:
            held = queries.derived(connection)
            begun = [held.get(name, _NOTHING) for name in names]
            since = min((one.upto for one in begun if one.condition != "whole"), default=None)
            if since is None:
                return BitMap(), 0
            touched = queries.spoken_since(connection, since) | self._people.relinked_since(connection, since)
            upto, _ = read_head(connection)
        return touched, upto if touched or upto - since > _FAR else 0

    def _spoken(self, after: int) -> list[int]:
        with self._committer.store.reading() as connection:
            return records.speakers(connection, after, _LOCKED)

    def _refresh(self, page: Collection[int], ahead: Rules | None = None) -> None:
        """Derive the profiles of some identities; a profile that none of them is in any more is forgotten.

        :param ahead: under these rules, not under those in force.
        """

        def run(batch: Batch) -> None:
            connection = batch.connection
            there = self._people.profiles_of(connection, page)
            held = self._people.lock(connection, there.keys())
            members = self._people.consent_members(connection, {held[number][0] for number in there})
            gone = set(page) - {home for home, *_ in held.values()}
            if ahead is None:
                self._ledger.refresh(batch, members, gone)
            else:
                self._check_devices(ahead)
                self._ledger.refresh_ahead(batch, ahead, members, gone)

        self._commit(run)

    def _cleared(self, name: str) -> bool:
        """Delete a page of what is discarded; returns whether nothing is left of it."""

        def run(batch: Batch) -> bool:
            if queries.is_discarded(batch.connection, name):
                if states.delete_page(batch.connection, name, _PAGE):
                    return False
                queries.forget(batch.connection, name)
            return True

        return self._commit(run)

    def _check_devices(self, rules: Rules) -> None:
        if rules.devices != self._ledger.rules.devices:
            raise _LostError

    def _commit(self, work: Callable[[Batch], T]) -> T:
        def run() -> T:
            with self._committer.batch() as batch:
                return work(batch)

        return retrying(run)


def _mark(names: Collection[str], under: int, entry: Entry, batch: Batch) -> None:
    """Do step 4, unless other policies came in force or somebody else did so."""
    if batch.policies == under and not queries.whole(batch.connection).issuperset(names):
        queries.mark_whole(batch.connection, names)
        batch.record(entry)
