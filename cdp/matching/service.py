"""Matching as a verb: one run at a time, in a thread of the server.

Steps:

1. **Begin**: the controller may use data for ``identity_resolution`` now; no other run is under way in any
   process; a run that a process left behind when it died is closed as failed.
2. **Choose** (``choose.py``): whom the gate lets be compared, decided at one commit, the run's ``upto``. The
   entry that names purpose, policies, fields and every one of these people is committed before anything is
   opened. A run with a model and nobody new since the last one ends here.
3. **Read** pages of them through the gate, each decided anew in its own snapshot, into one table in memory.
4. **Compare** (``match.py``): pairs, waterfalls, a model. The table is dropped, and its memory freed.
5. **Link** what is above the accept threshold, in small batches under the locks of those people, and
   **queue** what is between the thresholds (``outcome.py``).
6. **Tidy** the queue: older pairs that this run looked at and did not find again, page by page.
7. **End**: the model, the run and its last entry, in one commit.

Invariants: clear values are in 3 and 4, in memory, and nowhere else; no exception of a run reaches a log but
by its name. Whatever stops a run stops it between two commits: what was linked is linked with its evidence,
and the next run takes the same people again, as its ``upto`` is that of the last run that was done. A change
of the policies stops it: nothing is read, linked or queued under others than those under which it began.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

import msgspec
import pyarrow as pa
import structlog
from pyroaring import BitMap

from cdp.audit import Entry, Outcome
from cdp.clock import Clock
from cdp.errors import ConflictError, MissingExtraError, NotFoundError, NotPermittedError
from cdp.gate import CONTROLLER, Gate, Released
from cdp.identity import members_of
from cdp.matching import queries
from cdp.matching.choose import MATCHING, Chooser, Chosen, admit
from cdp.matching.match import match
from cdp.matching.model import Matched, MatchSettings
from cdp.matching.outcome import Settled, Settler
from cdp.matching.runs import Progress, Run, RunState, StoppedError
from cdp.store import Batch, Committer, Connection, Store, retrying

log = structlog.get_logger()
T = TypeVar("T")
_NAME = "matching"
_PAGE = 5_000  # people who are read at a time: enough that facts come out of the gate's memory of everybody
_LINKED = 100  # pairs of a batch, whose components it locks
_QUEUED = 1_000
_OUTCOMES: dict[RunState, Outcome] = {"done": "allowed", "rehearsed": "allowed", "denied": "denied"}


class Matching:
    """Runs of matching."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        gate: Gate,
        chooser: Chooser,
        settler: Settler,
        clock: Clock,
    ) -> None:
        self._store = store
        self._committer = committer
        self._gate = gate
        self._chooser = chooser
        self._settler = settler
        self._clock = clock
        self._alone = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._progress: dict[int, Progress] = {}

    # -- what the faces call --------------------------------------------------------------------

    def start(self, actor: str, *, full: bool = False, dry_run: bool = False) -> Run:
        """Begin a run and return it; it goes on in a thread.

        :param full: train a model anew and compare everybody; else those who are new, by the last model.
        :param dry_run: link nobody, queue nothing and keep no model; say how many it would be.
        :raises MissingExtraError: the optional part is not installed.
        :raises ConflictError: another run is under way.
        :raises NotPermittedError: the policies, or the controller's switch, stand against it.
        """
        require()
        if not self._alone.acquire(blocking=False):
            raise ConflictError("a run of matching is under way; `cdp match list` shows it")
        begun: Future[Run] = Future()
        work = partial(self._work, begun, actor, full=full, dry_run=dry_run)
        self._thread = threading.Thread(target=work, name=_NAME, daemon=True)
        self._thread.start()
        return begun.result()

    def stop(self) -> None:
        """End the run in hand at its next step; what it did stays, and the next run goes on."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def wait(self) -> None:
        """Wait for the run in hand."""
        if self._thread is not None:
            self._thread.join()

    def run(self, run_no: int) -> tuple[Run, Progress | None]:
        """Return a run, and how far it is when it is at work in this process.

        :raises NotFoundError: there is no such run.
        """
        progress = self._progress.get(run_no)
        found = self._seen(lambda connection: [run for run in [queries.run(connection, run_no)] if run])
        if not found:
            raise NotFoundError("there is no run of matching with this number; `cdp match list` shows them")
        (run,) = found
        return (run if progress is None else msgspec.structs.replace(run, state="running")), progress

    def runs(self, limit: int, before: int | None) -> list[Run]:
        """Return runs, the newest first; ``before``: continue behind this one."""
        return self._seen(lambda connection: queries.runs(connection, limit, before))

    def _seen(self, read: Callable[[Connection], list[Run]]) -> list[Run]:
        """Return runs as they are, of which one that says it is running may have died with its process."""
        with self._store.reading() as connection:
            found = read(connection)
        if all(run.state != "running" for run in found) or self._store.held(_NAME):
            return found
        with self._store.reading() as connection:  # it is none of those that ended just now
            return [_lost(run) if run.state == "running" else run for run in read(connection)]

    # -- the steps ------------------------------------------------------------------------------

    def _work(self, begun: Future[Run], actor: str, *, full: bool, dry_run: bool) -> None:
        failure: Exception | None = None
        try:
            with self._store.holding(_NAME) as free:
                run = self._begin(actor, free=free)
                begun.set_result(run)
                self._run(run, full=full, dry_run=dry_run)
        except Exception as error:  # noqa: BLE001  # it belongs to whoever began the run
            failure = error
        self._alone.release()
        self._progress.clear()  # only now is the run seen to have ended
        if begun.done():
            if failure is not None:
                log.warning("a run of matching could not be ended", error=type(failure).__name__)
        else:
            begun.set_exception(failure)

    def _begin(self, actor: str, *, free: bool) -> Run:
        if not free:
            raise ConflictError("a run of matching is under way in another process")
        self._settler.admit(actor, "matching.run")  # 1
        return self._commit(partial(self._added, actor))

    def _added(self, actor: str, batch: Batch) -> Run:
        now = self._clock.now()
        for lost in queries.running(batch.connection):
            ended = msgspec.structs.replace(_lost(lost), finished_at=now)
            queries.change_run(batch.connection, ended)
            batch.record(_ended(ended, Settled()))
        run = Run(queries.next_run(batch.connection), "running", actor, None, 0, 0, 0, 0, 0, 0, now, None)
        queries.add_run(batch.connection, run, batch.id)
        return run

    def _run(self, run: Run, *, full: bool, dry_run: bool) -> None:
        end: Callable[[Batch], None]
        done = Settled()
        try:
            end = self._matched(run, done, full=full, dry_run=dry_run)
        except Exception as error:  # noqa: BLE001  # whatever it is, by its name: a message could hold values
            state = _state_of(error)
            log.warning("matching ended early", run=run.run_no, state=state, error=type(error).__name__)
            ended = msgspec.structs.replace(run, state=state, linked=done.linked, queued=done.queued)
            end = partial(self._end, ended, done, None)
        self._commit(end)

    def _matched(self, run: Run, done: Settled, *, full: bool, dry_run: bool) -> Callable[[Batch], None]:
        """Do steps 2 to 6; returns the last one."""
        ended: RunState = "rehearsed" if dry_run else "done"
        self._step(run, "choosing")
        chosen = retrying(partial(self._chooser, run.run_no, run.actor, full=full, dry_run=dry_run))  # 2
        run = msgspec.structs.replace(
            run, state=ended, model_no=chosen.model_no, upto=chosen.upto, excluded=chosen.excluded
        )
        if chosen.fresh is not None and not chosen.fresh:
            return partial(self._end, run, done, None)
        found = self._compared(run, chosen)  # 3, 4
        link = partial(self._settler.link, run.run_no, run.actor, under=chosen.bundle, dry_run=dry_run)  # 5
        for page in self._paged(run, "linking", found.joined, _LINKED):
            done.add(retrying(partial(link, page)))
        queue = partial(self._settler.queue, run.run_no, under=chosen.bundle, dry_run=dry_run)
        for page in self._paged(run, "queueing", found.review, _QUEUED):
            done.add(retrying(partial(queue, page)))
        if not dry_run:
            self._tidied(run, chosen)  # 6
        run = msgspec.structs.replace(
            run, records=found.records, pairs=found.pairs, linked=done.linked, queued=done.queued
        )
        return partial(self._end, run, done, None if dry_run else (chosen, found))

    def _compared(self, run: Run, chosen: Chosen) -> Matched:
        people = sorted(chosen.people)
        pages = [
            chosen.columns.table(self._read(chosen, page))
            for page in self._paged(run, "reading", people, _PAGE)
        ]
        table = pa.concat_tables(pages) if pages else chosen.columns.table([])
        pages.clear()
        self._step(run, "comparing", 0, table.num_rows)
        numbers = table["record_no"].to_pylist()
        found = match(
            table,
            chosen.columns.fields,
            MatchSettings(accept=chosen.thresholds.accept, review=chosen.thresholds.review),
            model=chosen.model,
            clusters={number: chosen.home[number] for number in numbers},
            fresh=None if chosen.fresh is None else (chosen.fresh & BitMap(numbers)).to_array(),
        )
        del table
        pa.default_memory_pool().release_unused()
        return found

    def _read(self, chosen: Chosen, people: Sequence[int]) -> list[tuple[int, Released]]:
        with self._store.reading() as connection:
            admitted = admit(self._gate, connection, chosen.bundle)
            members = members_of(connection, people)
            # whom somebody joined since is not whom the entry names; the next run takes them
            known = {no: held for no, held in members.items() if chosen.subjects.issuperset(BitMap(held))}
            read = self._gate.read_many(connection, admitted, known, chosen.columns.wanted)
        return [row for row in read if row[0] in chosen.home]  # nor whoever had no trait when it was chosen

    def _tidied(self, run: Run, chosen: Chosen) -> None:
        self._step(run, "tidying")
        tidy = partial(self._settler.tidy, run.run_no, chosen.fresh)
        last = retrying(partial(tidy, None))
        while last is not None:
            self._step(run, "tidying")
            last = retrying(partial(tidy, last))

    def _end(self, run: Run, done: Settled, kept: tuple[Chosen, Matched] | None, batch: Batch) -> None:  # 7
        if kept is not None:
            chosen, found = kept
            if chosen.fresh is None and found.records > 1:
                now = self._clock.now()
                model_no = queries.add_model(batch.connection, found.model, found.records, now, batch.id)
                run = msgspec.structs.replace(run, model_no=model_no)
        queries.change_run(batch.connection, msgspec.structs.replace(run, finished_at=self._clock.now()))
        batch.record(_ended(run, done))

    # -- helpers --------------------------------------------------------------------------------

    def _paged(self, run: Run, step: str, items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
        for place in range(0, len(items), size):
            self._step(run, step, place, len(items))
            yield items[place : place + size]

    def _step(self, run: Run, step: str, done: int = 0, total: int = 0) -> None:
        """Say how far the run is, and end it here when the process ends."""
        self._progress[run.run_no] = Progress(step, done, total)
        if self._stopping.is_set():
            raise StoppedError("interrupted")

    def _commit(self, work: Callable[[Batch], T]) -> T:
        def once() -> T:
            with self._committer.batch(head_first=True) as batch:
                return work(batch)

        return retrying(once)


def require() -> None:
    """Raise unless the optional part is installed.

    :raises MissingExtraError: it is not.
    """
    try:
        import splink  # noqa: F401, PLC0415  # an extra, and slow to import
    except ImportError as error:
        raise MissingExtraError("match", "matching") from error


def _lost(run: Run) -> Run:
    return msgspec.structs.replace(run, state="interrupted")


def _state_of(error: Exception) -> RunState:
    """Return how a run ended that an error stopped."""
    if isinstance(error, StoppedError):
        return error.state
    return "denied" if isinstance(error, NotPermittedError) else "failed"


def _ended(run: Run, done: Settled) -> Entry:
    refused = {f"refused.{reason}": count for reason, count in sorted(done.refused.items())}
    return Entry(
        action="matching.run",
        actor=run.actor,
        outcome=_OUTCOMES.get(run.state, "failed"),
        purpose=MATCHING,
        destination=CONTROLLER,
        object={"run": run.run_no, "step": "end", "state": run.state},
        counts={"pairs": run.pairs},
        people={"linked": done.linked, "queued": done.queued, **refused},
    )
