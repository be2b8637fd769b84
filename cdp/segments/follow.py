"""follow: every segment kept as new as the store, by looking again at those whom something happened to.

What each leaf found is kept in memory, as of a commit. Steps of a turn:

1. Read where the store is. When nothing was committed since, and no window is due to slide: done.
2. Where nothing is known yet, or fields, sources' trust or an erasure changed it all, ask the whole
   warehouse, once the erased are in no file. Leaves that are new are asked of the whole warehouse, too.
3. Touched is whoever anything was written about since. Every ``_SLIDE`` also whoever had an event that was
   later than now and is no more, and whoever has facts at the edge of a window, which the warehouse tells: so
   of the commits that it did not have, everybody is touched again.
4. All numbers that the touched had go out of what each leaf found; what it finds now in all their facts
   goes in. The facts are read from the store: this is as new as the commit read in 1.
5. Combine the sets, leave out who is restrained, and find who entered and who exited.
6. In one transaction: the members of the segments that changed, who came and went, up to where all of it
   holds, and the audit entry of the use.

Invariants: after a turn at ``now`` every segment is what asking the whole store at ``now`` would find, but
that windows are as of the last slide for whoever nothing happened to. A turn that fails leaves nothing in
memory; the next one begins anew. A merge or a split is no coming or going by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing

import numpy as np
from pyroaring import BitMap

from cdp.audit import Entry
from cdp.clock import SECOND, Clock, Micros, random_id
from cdp.errors import DefinitionError, NotPermittedError
from cdp.segments import queries
from cdp.segments.compile import ahead, crossing
from cdp.segments.definition import Asked, Leaf, ListOf
from cdp.segments.definitions import Definitions, Question
from cdp.segments.edges import edges, event_names, oldest
from cdp.segments.evaluate import Evaluator, Told, combined
from cdp.segments.model import PURPOSE, Change
from cdp.segments.people import Moves, People
from cdp.segments.tags import queries as tag_queries
from cdp.store import Committer, Connection, Store, policies_version, read_head
from cdp.warehouse import Declared, Snapshot, Warehouse, bitmap, focus, touched

_SLIDE = 30 * SECOND
_ELSEWHERE = 10 * SECOND  # after which a process that followed the segments is taken to be gone
_MANY = 200_000  # touched identities from which on asking the whole warehouse is cheaper


class _Plan:
    """The stored segments, as they hold under one state of definitions, lists and policies.

    :param questions: by name, with the version.
    :param broken: names of those that no longer hold.
    """

    def __init__(
        self, key: object, questions: dict[str, tuple[int, Question]], broken: frozenset[str]
    ) -> None:
        self.key = key
        self.questions = questions
        self.broken = broken
        wanted: dict[Leaf, None] = {
            leaf: None for _, question in questions.values() for leaf in question.leaves
        }
        self.asked = [leaf for leaf in wanted if isinstance(leaf, Asked)]
        self.lists = [leaf for leaf in wanted if isinstance(leaf, ListOf)]
        self.events = {name for leaf in self.asked for name in event_names(leaf)}
        self._reads = frozenset[str]().union(*(question.reads for _, question in questions.values()))

    def columns(self, declared: Declared) -> Declared:
        """Return what of all that is declared any of the segments reads."""
        kept = {
            kind: {name: its for name, its in known.items() if f"{kind}:{name}" in self._reads}
            for kind, known in (("property", declared.properties), ("trait", declared.traits))
        }
        return Declared(properties=kept["property"], traits=kept["trait"])


class _State:
    """What is known, as of a commit.

    :param basis: what it rests on besides the facts: once that is another, nothing of it is kept.
    :param told: what each leaf found.
    :param ahead: identity → when the next of its events ceases to be later than now.
    :param found: segment → the version and members that are stored.
    """

    def __init__(self, basis: object, snapshot: Snapshot, now: Micros) -> None:
        self.basis = basis
        self.people = People(snapshot)
        self.declared = snapshot.tables.declared
        self.commit_no = snapshot.commit_no
        self.slid_at = now
        self.told: dict[Asked, Told] = {}
        self.ahead: dict[int, Micros] = {}
        self.found: dict[str, tuple[int, BitMap]] = {}
        self.plan: _Plan | None = None


class Follower:
    """Keeps the stored segments as new as the store; one turn at a time."""

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
        self._lock = threading.Lock()
        self._holder = random_id()
        self._plan: _Plan | None = None
        self._state: _State | None = None

    def turn(self, *, slide: bool = False) -> int:
        """Bring the stored segments to the head of the store; returns how many people were looked at.

        Nothing is done while another process follows them, or the erased are on the way out of the files.

        :param slide: windows, too, whenever they were slid last.
        :raises UnavailableError: the warehouse cannot answer now.
        """
        with self._lock:
            try:
                return self._turn(slide=slide)
            except NotPermittedError:  # nothing may be evaluated now; nothing is shown as newer than it is
                self._state = None
                return 0
            except BaseException:
                self._state = None
                raise

    def _turn(self, *, anew: bool = False, slide: bool = False) -> int:
        now = self._clock.now()
        state = None if anew else self._state
        if state is None and not self._may_begin():
            return 0
        slides = slide or state is None or abs(now - state.slid_at) >= _SLIDE
        snapshot = self._warehouse.snapshot() if slides or self._asks_more(state) else None
        with self._store.reading() as connection:  # opened after the snapshot, so never older
            head, epoch = read_head(connection)  # 1
            plan = self._plan = self._planned(connection)
            erasing = state is None and snapshot is not None and snapshot.erasure_epoch != epoch
            if not (plan.questions or plan.broken) or erasing or self._elsewhere(connection, now):
                self._state = None
                return 0
            basis = (epoch, self._definitions.fields, self._warehouse.trust())
            new = plan.asked if state is None else [leaf for leaf in plan.asked if leaf not in state.told]
            if state is not None and (state.basis != basis or (new and snapshot is None)):
                return self._turn(anew=state.basis != basis, slide=slide)
            if state is not None and snapshot is None and head == state.commit_no and plan is state.plan:
                return 0
            dirty = BitMap()
            if state is not None and snapshot is not None and slides:
                dirty |= crossing(snapshot, edges(state.told, state.slid_at, now), now)  # 3
                dirty |= BitMap(number for number, at in state.ahead.items() if at <= now)
                state.slid_at = now
            if snapshot is not None:
                state = state or _State(basis, snapshot, now)
                if new:
                    state.told |= self._evaluator.tell(snapshot, new, now)  # 2
                    state.ahead = ahead(snapshot, now) | state.ahead
                state.commit_no = min(state.commit_no, snapshot.commit_no)
            assert state is not None  # noqa: S101  # without one a snapshot is taken
            dirty |= BitMap(touched(connection, state.commit_no))
            moves = Moves(np.array([], np.uint32), np.array([], np.uint32))
            if len(dirty) <= _MANY:
                moves = self._look_again(connection, state, plan, dirty, snapshot, now)  # 4
                state.commit_no = head
            elif state.found:
                return self._turn(anew=True)
            state.told = {leaf: state.told[leaf] for leaf in plan.asked}
            found = self._combined(connection, plan, state)  # 5
        looked = len(dirty) if state.found else len(state.people.everyone)
        self._keep(plan, state, found, moves, looked, now)  # 6
        self._state = state
        return looked

    def _look_again(
        self,
        connection: Connection,
        state: _State,
        plan: _Plan,
        dirty: BitMap,
        snapshot: Snapshot | None,
        now: Micros,
    ) -> Moves:
        """Put what the leaves find in all that is known of some people in place of what they found before."""
        people = state.people
        numbers = people.mapped(dirty)
        if snapshot is not None:  # new leaves found them under the numbers of its map
            numbers |= snapshot.mapped(dirty)
        dirty = dirty | numbers
        then = people.profiles_of(dirty)
        people.move(dict(queries.relinked_since(connection, state.commit_no)))
        here = people.profiles_of(dirty)
        gone = numbers | bitmap(then) | bitmap(here)
        with closing(
            focus(
                connection,
                bitmap(here),
                state.declared,
                self._warehouse.trust,
                events=plan.events,
                since=oldest(plan.asked, now),
                columns=plan.columns(state.declared),
            )
        ) as facts:
            told = self._evaluator.tell(facts, plan.asked, now)
            there, later = facts.everyone, ahead(facts, now)
        state.ahead = {n: at for n, at in state.ahead.items() if n not in facts.numbers} | later
        for leaf, (profiles, rest) in told.items():
            state.told[leaf] = Told((state.told[leaf].profiles - gone) | profiles, rest)
        people.everyone = (people.everyone - gone) | there
        return Moves(then, here)

    def _combined(self, connection: Connection, plan: _Plan, state: _State) -> dict[str, BitMap]:
        gone = self._evaluator.gone(connection, state.commit_no)
        everyone = state.people.everyone - (gone | state.people.mapped(gone))
        lists = {
            leaf: state.people.mapped(queries.list_identities(connection, leaf.name)) for leaf in plan.lists
        }
        return {
            name: combined(question, state.told, lists, everyone)
            for name, (_, question) in plan.questions.items()
        }

    def _keep(
        self,
        plan: _Plan,
        state: _State,
        found: Mapping[str, BitMap],
        moves: Moves,
        looked: int,
        now: Micros,
    ) -> None:
        changed = {
            name: profiles
            for name, profiles in found.items()
            if state.found.get(name) != (plan.questions[name][0], profiles)
            or moves.through(profiles) != profiles
        }
        if not (changed or looked or state.slid_at == now):
            return
        entered = exited = 0
        with self._committer.batch() as batch:
            newest = queries.versions(batch.connection)
            for (name, version), as_of in queries.unfollowed(batch.connection).items():
                if name not in found or plan.questions[name][0] != version:
                    continue
                if as_of > state.commit_no:  # evaluated meanwhile over newer files: the next turn is as new
                    changed.pop(name, None)
                else:
                    changed[name] = found[name]
            queries.unfollow(batch.connection, plan.broken)
            for name, profiles in changed.items():
                version = plan.questions[name][0]
                if newest.get(name) != version:
                    continue  # changed or deleted meanwhile
                before = self._before(batch.connection, state, name, version)
                stored = queries.StoredMembers(version, state.commit_no, now, profiles, followed=True)
                queries.put_members(batch.connection, name, stored)
                if before is None:
                    continue
                stayed = moves.through(before)
                change = Change(
                    name=name,
                    version=version,
                    as_of=state.commit_no,
                    changed_at=now,
                    entered=profiles - stayed,
                    exited=stayed - profiles,
                )
                if change.entered or change.exited:
                    queries.add_change(batch.connection, name, batch.id, change)
                    entered, exited = entered + len(change.entered), exited + len(change.exited)
            following = queries.Following(state.commit_no, now, self._holder)
            queries.put_following(batch.connection, following)
            if looked:
                batch.record(
                    Entry(
                        action="segment.follow",
                        actor="system",
                        purpose=PURPOSE,
                        object={"as_of": state.commit_no},
                        counts={"segments": len(found), "changed": len(changed)},
                        people={"evaluated": looked, "entered": entered, "exited": exited},
                    )
                )
        state.found |= {name: (plan.questions[name][0], profiles) for name, profiles in changed.items()}
        state.plan = plan

    @staticmethod
    def _before(connection: Connection, state: _State, name: str, version: int) -> BitMap | None:
        """Return who was in a segment under the same version; None when nobody knows."""
        known = state.found.get(name)
        if known is not None and known[0] == version:
            return known[1]
        stored = queries.members(connection, name)
        return stored.bitmap if stored is not None and stored.version == version else None

    def _may_begin(self) -> bool:
        """Return whether there are segments, and anything mirrored yet to ask."""
        with self._store.reading() as connection:
            return bool(queries.versions(connection)) and self._warehouse.is_filled

    def _asks_more(self, state: _State | None) -> bool:
        return self._plan is not None and state is not None and not state.told.keys() >= set(self._plan.asked)

    def _elsewhere(self, connection: Connection, now: Micros) -> bool:
        known = queries.following(connection)
        return (
            known is not None and known.holder != self._holder and abs(now - known.computed_at) < _ELSEWHERE
        )

    def _planned(self, connection: Connection) -> _Plan:
        """Return the stored segments; those of before while nothing that they rest on has changed."""
        lists = queries.list_categories(connection)
        key = (
            queries.versions(connection),
            tag_queries.state(connection),
            lists,
            policies_version(connection),
            self._definitions.fields,
        )
        if self._plan is not None and self._plan.key == key:
            return self._plan
        stored = queries.newest(connection)
        questions: dict[str, tuple[int, Question]] = {}
        broken = set()
        for name, held in stored.items():
            if held.source is None:
                continue
            try:
                definition = self._definitions.parsed(held)
                if definition.schedule is not None:
                    continue
                questions[name] = held.version, self._definitions.question(connection, definition, stored)
            except DefinitionError:
                broken.add(name)
        return _Plan(key, questions, frozenset(broken))
