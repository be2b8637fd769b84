"""Runs: everything is looked through, and what is past its period is deleted, or only counted.

The steps of a run:

1. **Begin**: an officer says so. One that deletes needs a dry run of the same schedule that came to its end,
   so that what goes was seen before. Afterwards it is repeated each day without another word, until the
   schedule changes.
2. **Page**: some hundred identities. The laws that bind each person, the holds that stand, and what they left
   are read from one snapshot; then one commit deletes what is past its period, cuts values out of what stays
   and seals the rest again, and notes how far the run has come.
3. **End**: nobody is left. Where anything was deleted, the warehouse is made anew and every process
   empties its caches; the counts by row of retention.yaml are in the audit log.

Invariants:

1. What a run deletes is decided by the moment of its beginning: two runs at one moment delete the same.
2. A page commits whole or not at all. One process works at a time: whoever finds that another one worked on
   the run since stores nothing. A kill loses at most the page at hand.
3. What says that somebody is a minor stays for as long as they are one: to forget it would permit more.
4. An envelope whose key is lost stays as it is and is counted. Nothing is read for any other use.
5. A run of another schedule than that of the policies in force stops.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import msgspec

from cdp.audit import Entry
from cdp.clock import DAY, SECOND, Clock, Micros
from cdp.crypto import Keyring
from cdp.errors import ConflictError, NotFoundError
from cdp.policy import Bundle
from cdp.rights.retention import queries
from cdp.rights.retention.look import Laying, Looker, Page
from cdp.rights.retention.model import Run, RunState
from cdp.rights.retention.periods import schedule
from cdp.store import Committer, Connection, retrying

PURPOSE = "rights"
_TURN_SECONDS = 2.0
_STALLED: Micros = 60 * SECOND
_FULL: Micros = 30 * DAY
_SHOWN = 20


class Retention:
    """Looks through everything for what is past its period.

    :param policy: returns the policies in force.
    :param laws: see ``Looker``.
    :param rebuild: makes the warehouse anew.
    """

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        clock: Clock,
        policy: Callable[[], Bundle],
        laws: Laying,
        rebuild: Callable[[], object],
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._policy = policy
        self._rebuild = rebuild
        self._looker = Looker(keyring, laws)
        self._one = threading.Lock()

    # -- the acts -------------------------------------------------------------------------------

    def begin(self, actor: str, *, dry: bool) -> Run:
        """Begin a run (step 1).

        :raises ConflictError: one is under way; or it is to delete, and no dry run of this schedule ended.
        """
        bundle = self._policy()
        wanted = schedule(bundle)

        def run() -> Run:
            with self._committer.batch(head_first=True) as batch:
                connection = batch.connection
                if queries.running(connection) is not None:
                    raise ConflictError("a run is under way; see `cdp retention status`")
                if not dry and queries.newest_run(connection, wanted, dry=True) is None:
                    raise ConflictError(
                        "look first at what would go under these policies: `cdp retention run --dry-run`"
                    )
                now = self._clock.now()
                begun = Run(
                    run_id="t_" + secrets.token_hex(8),
                    dry=dry,
                    actor=actor,
                    schedule=wanted,
                    now=now,
                    state="running",
                    position=0,
                    upto=queries.last_identity(connection),
                    counts={},
                    identities=0,
                    changed_at=0,
                )
                queries.add_run(connection, begun)
                batch.record(self._entry("retention.begin", begun))
                return begun

        return retrying(run)

    def stop(self, actor: str, run_id: str) -> Run:
        """End a run where it stands; what it deleted is gone.

        :raises NotFoundError: there is none of this id.
        :raises ConflictError: it came to its end already.
        """

        def run() -> Run:
            with self._committer.batch() as batch:
                found = queries.find_run(batch.connection, run_id)
                if found is None:
                    raise NotFoundError("there is no run with this id")
                stopped = msgspec.structs.replace(found, state="stopped")
                if not queries.store_run(batch.connection, stopped, found.changed_at):
                    raise ConflictError("this run came to its end, or went on just now: look again")
                batch.record(self._entry("retention.stop", stopped, actor))
                return stopped

        return retrying(run)

    def runs(self) -> list[Run]:
        """Return the newest runs: numbers of things, and nothing about anybody."""
        with self._committer.store.reading() as connection:
            return queries.newest_runs(connection, _SHOWN)

    def find(self, run_id: str) -> Run:
        """Return one run.

        :raises NotFoundError: there is none of this id.
        """
        with self._committer.store.reading() as connection:
            found = queries.find_run(connection, run_id)
        if found is None:
            raise NotFoundError("there is no run with this id")
        return found

    # -- the work -------------------------------------------------------------------------------

    def keep(self) -> None:
        """Go on with the run under way, or begin the daily one of a schedule that an officer began once."""
        with self._committer.store.reading() as connection:
            idle = queries.running(connection) is None
            last = queries.newest_run(connection, schedule(self._policy()), dry=False) if idle else None
        if last is not None and abs(self._clock.now() - last.now) >= DAY:  # of a time ahead: a clock was
            with suppress(ConflictError):  # another process began it
                self.begin("system", dry=False)
        self.advance()

    def advance(self) -> bool:
        """Do pages of the run under way for a while; True while something is left for this process."""
        with self._one:
            bundle = self._policy()
            end = time.monotonic() + _TURN_SECONDS
            while time.monotonic() < end:
                with self._committer.store.reading() as connection:
                    run = queries.running(connection)
                if run is None:
                    return False
                if run.changed_at != self._mine and abs(self._clock.now() - run.changed_at) < _STALLED:
                    return False  # another process is at it
                if not self._turn(run, bundle):
                    return False
            return True

    _mine: Micros = 0
    """When this process last worked on a run."""

    def _turn(self, run: Run, bundle: Bundle) -> bool:
        """Do one page (step 2), or end the run (step 3); False when there is nothing more to do here."""
        ended: RunState | None = "done" if run.position >= run.upto else None
        if run.schedule != schedule(bundle):
            ended = "stopped"
        if ended is not None:
            if run.identities and not run.dry:
                self._rebuild()
            self._store(msgspec.structs.replace(run, state=ended), run, Page())
            return False
        with self._committer.store.reading() as connection:
            page, position = self._looker(connection, run, bundle, self._since(connection, run))
        counts = Counter(run.counts)
        counts.update(page.counts)
        touched = run.identities + len(page.touched)
        further = msgspec.structs.replace(run, position=position, counts=dict(counts), identities=touched)
        return self._store(further, run, page)

    def _store(self, run: Run, before: Run, page: Page) -> bool:
        """Commit a page; False where another process worked on the run since."""
        now = max(self._clock.now(), before.changed_at + 1)
        mine = msgspec.structs.replace(run, changed_at=now)

        def store() -> bool:
            with self._committer.batch() as batch:
                connection = batch.connection
                if not queries.store_run(connection, mine, before.changed_at):
                    return False
                if not run.dry:
                    queries.delete_events(connection, page.events)
                    queries.replace_events(connection, page.left)
                    queries.delete_traits(connection, page.traits)
                if run.state != "running":
                    if run.identities and not run.dry:
                        batch.erase()
                    batch.record(self._entry("retention.end", run, "system"))
                return True

        stored = retrying(store)
        if stored:
            self._mine = now
        return stored

    def _since(self, connection: Connection, run: Run) -> Micros | None:
        """Return up to when a run of the same schedule has opened envelopes; None where all are opened.

        Whose laws changed, and what is held no more, is found when all are opened: at least once a month.
        """
        last = queries.newest_run(connection, run.schedule, dry=False)
        if last is None or run.now // _FULL != last.now // _FULL:
            return None
        ended = (hold.lifted_at for hold in queries.holds(connection, standing=False))
        return None if any(at is not None and at >= last.now for at in ended) else last.now

    @staticmethod
    def _entry(action: str, run: Run, actor: str = "") -> Entry:
        said: dict[str, str | int] = {"run": run.run_id, "dry": int(run.dry), "schedule": run.schedule}
        return Entry(
            action=action,
            actor=actor or run.actor,
            purpose=PURPOSE,
            object={**said, "state": run.state},
            counts=run.counts,
            people={"identities": run.identities} if run.state != "running" else {},
        )
