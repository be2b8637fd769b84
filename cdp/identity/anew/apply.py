"""Everybody's links under the rules in force, in the background: a *pass* over all components.

The steps:

1. **Begin**: other rules came in force than those of the newest pass: a new one is noted, which replaces what
   is left of an older one. Where nobody is linked to anybody yet there is nothing to do.
2. **Page**: components are read from a snapshot and decided. Only those that come out otherwise are locked
   and decided again; their consent is derived anew, and how far the pass has come is stored, in one commit.
3. **End**: no component is left.

Invariants:

1. Every batch is made under the policies in force, so whatever changes after the pass began is decided under
   its rules already; the pass brings what nobody touches. At its end everybody's links are as if all events
   had come under these rules, with the identifiers that were kept of them.
2. A page that was read before somebody was erased, or policies changed, is not stored; nor is one of a pass
   that was paused or replaced meanwhile. A kill anywhere loses at most the page at hand.
3. One process works at a time. The lease is when it last worked (``changed_at``): whoever holds another one
   stores nothing; a process that ended is followed by the next one after a while.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec

from cdp.audit import Entry
from cdp.clock import SECOND, Clock, Micros
from cdp.crypto import Keyring
from cdp.errors import ConflictError
from cdp.identity import queries as stored
from cdp.identity.anew import queries
from cdp.identity.anew.components import Blocking, Component, blocks_alike, read, target
from cdp.identity.anew.queries import Pass, State
from cdp.identity.model import RULES
from cdp.identity.service import IdentityService
from cdp.store import Batch, Committer, Connection, policies_version, read_head, retrying

_PAGE = 2_000  # identities read at once; of those that change one transaction holds the locks
_TURN_SECONDS = 5.0
_STALLED: Micros = 30 * SECOND
_SHOWN = 20


class _LostError(Exception):
    """The page was read before something changed, or is nobody's business any more."""


class RulesPass:
    """Brings everybody's links under the rules in force.

    :param activated: returns how many times policies were activated. Of a pass that is for the rules in force
        by one activation less, that last one said the same; where there were more, others may have been in
        force between, and everybody is looked at again.
    """

    def __init__(
        self,
        committer: Committer,
        identity: IdentityService,
        keyring: Keyring,
        activated: Callable[[Connection], int],
        clock: Clock,
    ) -> None:
        self._committer = committer
        self._identity = identity
        self._keyring = keyring
        self._activated = activated
        self._clock = clock
        self._lease: tuple[int, Micros] | None = None
        self._one = threading.Lock()

    def passes(self) -> list[Pass]:
        """Return the newest passes over everything, of any kind, the newest first."""
        with self._committer.store.reading() as connection:
            return queries.passes(connection, _SHOWN)

    # -- the acts -------------------------------------------------------------------------------

    def begin(self, actor: str) -> None:
        """Have a pass for the rules in force, unless the newest one is for them (step 1)."""
        rules = target(self._identity.rules)  # first: what was linked under others is in the snapshot
        with self._committer.store.reading() as connection:
            newest = queries.passes(connection, 1, "rules")
            last = self._activated(connection)
            wanted = f"{last}.{rules}"
            if newest and newest[0].target == wanted:
                return
            linked, _ = queries.extent(connection)
        if newest or linked:
            retrying(lambda: self._begin(actor))
            return
        with self._committer.store.writing() as connection, connection.begin():  # nobody, so no use of data
            queries.hold(connection)
            if not queries.passes(connection, 1, "rules"):
                queries.begin(connection, self._made(wanted, actor, "done", 0, 0))

    def pause(self, actor: str) -> Pass:
        """Stop the pass after the page at hand, until somebody has it go on.

        :raises ConflictError: none is running.
        """
        return retrying(lambda: self._turn(actor, "running", "paused"))

    def resume(self, actor: str) -> Pass:
        """Have the pass that is paused go on where it stands.

        :raises ConflictError: none is paused.
        """
        return retrying(lambda: self._turn(actor, "paused", "running"))

    def advance(self) -> bool:
        """Do pages for a few seconds (steps 2 and 3); True while something is left for this process."""
        with self._one:
            self.begin("system")
            held, blocking = self._claim()
            until = time.monotonic() + _TURN_SECONDS
            while held is not None:
                started = time.monotonic()
                try:
                    held = self._page(held, blocking)
                except _LostError:
                    break
                self._lease = None if held is None else (held.pass_no, held.changed_at)
                if time.monotonic() > until:
                    break
                time.sleep((time.monotonic() - started) / 6)  # beside ingest, which shares the rest with it
            return held is not None

    # -- how ------------------------------------------------------------------------------------

    def _begin(self, actor: str) -> None:
        with self._committer.batch() as batch:
            connection = batch.connection
            queries.hold(connection)
            newest = queries.passes(connection, 1, "rules")
            rules, last = target(self._identity.rules), self._activated(connection)
            wanted = f"{last}.{rules}"
            if newest and newest[0].rules == rules and newest[0].activated >= last - 1:
                queries.note(connection, newest[0], wanted)
                return
            total, upto = queries.extent(connection)
            made = self._made(wanted, actor, "running", total, upto)
            made = msgspec.structs.replace(made, pass_no=queries.begin(connection, made))
            batch.record(self._entry("begin", actor, made, {"components": total}))

    def _made(self, wanted: str, actor: str, state: State, total: int, upto: int) -> Pass:
        return Pass(
            kind="rules",
            target=wanted,
            state=state,
            upto=upto,
            total=total,
            actor=actor,
            started_at=self._clock.now(),
        )

    def _turn(self, actor: str, known: State, wanted: State) -> Pass:
        with self._committer.batch() as batch:
            queries.hold(batch.connection)
            newest = queries.passes(batch.connection, 1, "rules")
            if not newest or newest[0].state != known:
                raise ConflictError(f"no pass under the rules in force is {known}")
            now = msgspec.structs.replace(newest[0], state=wanted, changed_at=0)
            queries.advance(batch.connection, newest[0], now)
            batch.record(self._entry("pause" if wanted == "paused" else "resume", actor, now, {}))
        return now

    def _claim(self) -> tuple[Pass | None, Blocking | None]:
        """Take or keep the work; nothing while another process is at it, or there is none."""
        rules = self._identity.rules
        with self._committer.store.reading() as connection:
            newest, *before = queries.passes(connection, 2, "rules")
        now, lease = self._clock.now(), (newest.pass_no, newest.changed_at)
        free = abs(now - newest.changed_at) >= _STALLED or lease == self._lease  # a clock may have been ahead
        if newest.state != "running" or newest.rules != target(rules) or not free:
            return None, None
        mine = self._touched(newest)
        with self._committer.store.writing() as connection, connection.begin():
            if not queries.advance(connection, newest, mine):
                return None, None
        self._lease = mine.pass_no, mine.changed_at
        alike = any(one.state == "done" and blocks_alike(one.target, mine.target) for one in before)
        return mine, None if alike else Blocking(self._keyring, rules)

    def _touched(self, held: Pass) -> Pass:
        """Return a pass with a lease that nobody held before."""
        return msgspec.structs.replace(held, changed_at=max(self._clock.now(), held.changed_at + 1))

    def _page(self, held: Pass, blocking: Blocking | None) -> Pass | None:
        """Do the next page; returns the pass after it, None at its end.

        :raises _LostError: nothing of it is stored.
        """
        rules, store = self._identity.rules, self._committer.store
        if target(rules) != held.rules:
            raise _LostError
        with store.reading() as connection:
            _, epoch = read_head(connection)
            seen = epoch, policies_version(connection)
            clusters = queries.component_page(connection, held.position, held.upto, _PAGE)
            changed = [one for one in read(connection, clusters, rules, blocking) if one.differs]
        if not clusters:
            self._end(held)
            return None
        now = self._touched(held)
        now = msgspec.structs.replace(now, position=clusters[-1], done=held.done + len(clusters))
        if changed:
            return retrying(lambda: self._relink(held, now, changed, seen))
        with store.writing() as connection, connection.begin():
            if not queries.advance(connection, held, now):
                raise _LostError
        return now

    def _relink(self, held: Pass, now: Pass, changed: Collection[Component], seen: tuple[int, int]) -> Pass:
        """Decide components anew and store how far the pass has come."""
        with self._committer.batch() as batch:
            connection = batch.connection
            if (batch.epoch, batch.policies) != seen or not queries.advance(connection, held, now):
                raise _LostError
            before = self._identity.lock(connection, [number for one in changed for number in one.home])
            self._set_aside(batch, changed)
            relinked, gone, *_ = self._identity.decide(batch, before, list(before), ())
            self._identity.refresh_consent(batch, relinked, gone)
            home = {number: profile_no for number, (profile_no, _) in before.items()}
            after = stored.profiles_of(connection, home)
            merged, parted = relinks(home, after)
            now = msgspec.structs.replace(now, merged=held.merged + merged, parted=held.parted + parted)
            queries.advance(connection, now, now)
            people = {"components": len(changed), "merged": merged, "parted": parted}
            entry = self._entry("page", held.actor, now, people)
            moved = tuple(sorted(number for number in home if home[number] != after[number]))
            batch.record(msgspec.structs.replace(entry, subjects=moved))
        return now

    def _set_aside(self, batch: Batch, changed: Iterable[Component]) -> None:
        """Note the pairs that are set aside, or admitted again, because of what is blocked."""
        at = self._clock.now()
        for suppressed in (True, False):
            pairs = {pair for one in changed for pair in (one.revoked if suppressed else one.admitted)}
            stored.add_suppressions(batch.connection, pairs, batch.id, RULES, at, suppressed=suppressed)

    def _end(self, held: Pass) -> None:
        def run() -> None:
            with self._committer.batch() as batch:
                now = msgspec.structs.replace(self._touched(held), state="done", done=held.total)
                if not queries.advance(batch.connection, held, now):
                    raise _LostError
                people = {"components": now.total, "merged": now.merged, "parted": now.parted}
                batch.record(self._entry("done", held.actor, now, people))

        retrying(run)

    def _entry(self, act: str, actor: str, about: Pass, people: dict[str, int]) -> Entry:
        return Entry(
            action=f"identity.rules.{act}",
            actor=actor,
            object={"pass": about.pass_no, "rules": about.target, "version": self._identity.rules.version},
            people=people,
        )


def relinks(before: Mapping[int, int], after: Mapping[int, int]) -> tuple[int, int]:
    """Return how many profiles of before came together with others, and how many came apart.

    :param before: identity_no → profile_no; ``after`` likewise, of the same identities.
    """
    went, came = defaultdict(set), defaultdict(set)
    for number, home in before.items():
        went[home].add(after[number])
        came[after[number]].add(home)
    merged = {home for homes in came.values() if len(homes) > 1 for home in homes}
    return len(merged), sum(len(homes) > 1 for homes in went.values())
