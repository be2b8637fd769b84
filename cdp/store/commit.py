"""The commit order: the one place where a transaction is committed.

Invariants:

1. Every writing transaction carries a fresh batch id; its rows carry it too.
2. Its last statements, in this order: move the log head to the next ``commit_no``, which locks it; append its
   audit leaves. Nothing waits after the head, so ``commit_no`` has no gaps and a reader that tails it misses
   nothing, whatever order transactions began in.
3. If ``erasure_epoch`` moved since the batch began, its keys may be destroyed; if ``policies`` moved, it was
   made under policies that no longer hold: it rolls back, and ``EpochMovedError`` tells the caller to run
   again.
4. What restrains somebody is in the journal before the head is moved, what lifts a restraint only after
   the commit; numbers are journalled before they are handed out. What can be taken back (a switch, a list)
   is journalled under an instant of its batch, given while the head is held: those instants are in the order
   of commits, whatever the clocks of the hosts say.
5. Every batch begins under the policies in force: ``on_policies`` is told their version first.

Lock order everywhere: components, head. The journal's own is taken last and held for one write only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection, func, insert, select, true, update

from cdp.clock import Clock, Micros, random_id
from cdp.errors import ConflictError, StoreError
from cdp.store import bulk, dialect
from cdp.store.engine import LostError, Store
from cdp.store.metadata import batches, counters, erased_identities, log_head

_HEAD = 1
_HEAD_ROW = select(log_head.c.commit_no, log_head.c.erasure_epoch, log_head.c.policies).where(
    log_head.c.id == _HEAD
)
LeafAppender = Callable[[Connection, int, Micros, Sequence[Any]], list[int]]
"""(connection, commit_no, now, entries) → the index of each entry in the log."""

T = TypeVar("T")
_TRIES = 8
_AHEAD = 100_000  # numbers that one line of the journal covers beyond those that are needed
_JOURNALLED = ".journalled"  # the counter beside a counter: below which the journal knows its numbers
INSTANT = "journal_instant"  # the counter that holds the last instant given to a batch's facts


class FactJournal(Protocol):
    """What the commit order needs of the journal, injected so that the store knows no stage."""

    def write(
        self, connection: Connection, facts: Sequence[Any], instant: Callable[[], Micros]
    ) -> Callable[[], None]:
        """Put on disk what restrains; returns what to call after the commit.

        :param instant: takes the head for facts whose order counts, and says when they were.
        """
        ...

    def numbers(self, counter: str, below: int) -> None:
        """Put on disk that numbers of a counter below ``below`` may be handed out."""
        ...


class EpochMovedError(ConflictError):
    """Somebody was erased, or the policies changed, while this batch ran; run it again."""


class Batch:
    """One writing transaction.

    ``connection`` writes in it, ``id`` marks its rows, ``record`` adds an audit entry, ``facts`` are those
    for the journal (``journal.Fact``). After the transaction has committed, ``commit_no`` and
    ``audit_indexes`` say where it stands.
    """

    __slots__ = (
        "audit_indexes",
        "commit_no",
        "connection",
        "entries",
        "epoch",
        "erases",
        "facts",
        "id",
        "policies",
    )

    def __init__(self, connection: Connection, epoch: int, policies: int) -> None:
        self.connection = connection
        self.id = random_id()
        self.epoch = epoch
        self.policies = policies
        self.erases = False
        self.entries: list[Any] = []
        self.facts: list[Any] = []
        self.commit_no = 0
        self.audit_indexes: list[int] = []

    def record(self, entry: Any) -> None:
        """Add an audit entry (an ``audit.Entry``), appended when the batch commits."""
        self.entries.append(entry)

    def erase(self, identity_nos: Iterable[int] = ()) -> None:
        """Move ``erasure_epoch`` with the commit: every process then drops the keys that it holds in memory.

        Destroy the keys (``Keyring.destroy``) before the batch commits: what another batch seals under one
        until then is lost with it, and no batch that commits later uses it.

        :param identity_nos: who counts as erased from this commit on (``erased``). Told of again, whoever
            looks for those since an epoch finds them again.
        """
        self.erases = True
        e, numbers = erased_identities.c, sorted(identity_nos)
        rows = [(number, self.epoch + 1, self.id) for number in numbers]
        columns = ("identity_no", "epoch", "batch")
        bulk.insert_ignoring(self.connection, erased_identities, columns, rows)
        for chunk in dialect.chunks(numbers):
            told = update(erased_identities).where(dialect.among(e.identity_no, chunk))
            self.connection.execute(told.values(epoch=self.epoch + 1))

    @contextmanager
    def trial(self, *, undo: bool) -> Iterator[None]:
        """Undo what is written inside when the block ends, if ``undo``; locks are kept until the batch ends.

        So a dry run does what the run does, and an audit entry recorded outside is stored all the same.
        """
        inner = self.connection.begin_nested() if undo else None
        entries, facts = len(self.entries), len(self.facts)
        try:
            yield
        finally:
            if inner is not None:
                inner.rollback()
                del self.entries[entries:], self.facts[facts:]

    def change_policies(self) -> int:
        """Count a change of the policies, whose other rows this batch brings; returns the new version.

        Only a batch that holds the head (``head_first``) may do so.
        """
        self.policies += 1
        self.connection.execute(update(log_head).where(log_head.c.id == _HEAD).values(policies=self.policies))
        return self.policies


class Committer:
    """Opens batches and commits them in order.

    :param append: the audit log's leaf appender, injected so that the store knows no stage.
    :param journal: None only for a database that nobody will have to restore.

    ``on_policies`` is called with each new batch's connection and the version of the policies.
    """

    def __init__(
        self, store: Store, append: LeafAppender, clock: Clock, journal: FactJournal | None = None
    ) -> None:
        self.store = store
        self._append = append
        self._clock = clock
        self._journal = journal
        self.on_policies: Callable[[Connection, int], None] = lambda _connection, _version: None

    @contextmanager
    def batch(self, *, head_first: bool = False) -> Iterator[Batch]:
        """Open a batch; leaving the block commits it, an exception rolls all of it back.

        :param head_first: take the head lock before anything else (the gate's authorise step).
        :raises StoreError: the database failed; nothing of the batch is stored.
        :raises EpochMovedError: an erasure happened meanwhile; run the batch again.
        """
        with self.store.writing() as connection:
            transaction = connection.begin()
            try:
                query = dialect.lock_rows(_HEAD_ROW) if head_first else _HEAD_ROW
                _, epoch, policies = connection.execute(query).one()
                self.on_policies(connection, policies)
                batch = Batch(connection, epoch, policies)
                yield batch
                committed = self._to_journal(batch)
                self._finish(batch)
                transaction.commit()
            except BaseException:
                transaction.rollback()
                raise
        committed()

    def _to_journal(self, batch: Batch) -> Callable[[], None]:
        if self._journal is None or not batch.facts:
            return _nothing
        return self._journal.write(batch.connection, batch.facts, partial(self._instant, batch.connection))

    def _instant(self, connection: Connection) -> Micros:
        """Return an instant after all that were given before, and hold the head until the batch ends."""
        connection.execute(dialect.lock_rows(_HEAD_ROW))
        at = max(self._clock.now(), _counted(connection, INSTANT) + 1)
        bulk.upsert(connection, counters, [{"name": INSTANT, "next": at}], ("name",))
        return at

    def _finish(self, batch: Batch) -> None:
        connection, h = batch.connection, log_head.c
        unmoved = h.id == _HEAD, h.erasure_epoch == batch.epoch, h.policies == batch.policies
        moved = {"commit_no": h.commit_no + 1, "erasure_epoch": batch.epoch + batch.erases}
        head = connection.execute(
            update(log_head).where(*unmoved).values(moved).returning(h.commit_no)
        ).first()
        if head is None:
            raise EpochMovedError
        batch.commit_no = head.commit_no
        now = self._clock.now()
        connection.execute(
            insert(batches).values(commit_no=batch.commit_no, batch=batch.id, committed_at=now)
        )
        if batch.entries:
            batch.audit_indexes = self._append(connection, batch.commit_no, now, batch.entries)

    def reserve(self, counter: str, count: int) -> range:
        """Reserve ``count`` consecutive numbers in a committed transaction of its own.

        Reserved numbers are never handed out again, also when nobody uses them, and not after a restore:
        the journal is told of them, many at a time, so that ingest seldom waits for it.

        :raises JournalError: the journal has to be told and cannot be written.
        """
        with self.store.writing() as connection, connection.begin():
            query = dialect.lock_rows(select(counters.c.next).where(counters.c.name == counter))
            first = int(connection.execute(query).scalar_one())
            self._journal_numbers(connection, counter, first + count)
            connection.execute(update(counters).where(counters.c.name == counter).values(next=first + count))
        return range(first, first + count)

    def _journal_numbers(self, connection: Connection, counter: str, needed: int) -> None:
        if self._journal is None:
            return
        beside = counter + _JOURNALLED
        if _counted(connection, beside) < needed:
            self._journal.numbers(counter, needed + _AHEAD)
            bulk.upsert(connection, counters, [{"name": beside, "next": needed + _AHEAD}], ("name",))

    def journalled(self, counter: str) -> int:
        """Return below which the journal was told that numbers may be handed out; 0 when it never was."""
        with self.store.reading() as connection:
            return _counted(connection, counter + _JOURNALLED)

    def skip(self, counter: str, below: int) -> None:
        """Hand out no number below ``below`` again (after a restore)."""
        with self.store.writing() as connection, connection.begin():
            bulk.insert_ignoring(connection, counters, ("name", "next"), [(counter, below)])
            held = counters.c.name == counter, counters.c.next < below
            connection.execute(update(counters).where(*held).values(next=below))


def _counted(connection: Connection, counter: str) -> int:
    """Return how far a counter is; 0 when there is none."""
    return int(connection.execute(select(counters.c.next).where(counters.c.name == counter)).scalar() or 0)


def _nothing() -> None:
    """Stand for the journal where a batch has no facts."""


def retrying(work: Callable[[], T]) -> T:
    """Run ``work`` until it is no deadlock victim and no erasure came between (at most 8 times)."""
    for _ in range(_TRIES):
        try:
            return work()
        except (EpochMovedError, LostError):
            continue
    raise StoreError("the batch kept losing against others; it was not stored")


def read_head(connection: Connection) -> tuple[int, int]:
    """Return (commit_no, erasure_epoch) as this connection sees them."""
    query = select(log_head.c.commit_no, log_head.c.erasure_epoch).where(log_head.c.id == _HEAD)
    row = connection.execute(query).one()
    return int(row.commit_no), int(row.erasure_epoch)


def policies_version(connection: Connection) -> int:
    """Return how often the policies changed, as this connection sees it."""
    return int(connection.execute(select(log_head.c.policies).where(log_head.c.id == _HEAD)).scalar_one())


def until(batch: ColumnElement[int], commit_no: int | None) -> ColumnElement[bool]:
    """Return the condition that a row's batch was committed up to ``commit_no``; None for no condition."""
    if commit_no is None:
        return true()
    found = select(batches.c.batch).where(batches.c.batch == batch, batches.c.commit_no <= commit_no)
    return found.correlate_except(batches).exists()


def since(batch: ColumnElement[int], commit_no: int) -> ColumnElement[bool]:
    """Return the condition that a row's batch was committed after ``commit_no``.

    A list of batches, not a join: SQLite, which keeps no statistics, may scan the other table of a join,
    while it looks a list up by the index of ``batch``.
    """
    return batch.in_(select(batches.c.batch).where(batches.c.commit_no > commit_no))


def commit_order(batch: ColumnElement[int]) -> ColumnElement[int]:
    """Return what orders rows as their batches were committed; those of the batch at hand come last.

    Batch ids are drawn when a batch begins, by the clock of its host: they order nothing.
    """
    found = select(batches.c.commit_no).where(batches.c.batch == batch)
    return found.correlate_except(batches).scalar_subquery().nulls_last()


def commit_at(connection: Connection, at: Micros) -> int:
    """Return the last commit up to an instant; 0 when there was none."""
    query = select(func.max(batches.c.commit_no)).where(batches.c.committed_at <= at)
    return int(connection.execute(query).scalar() or 0)


def initialise(connection: Connection) -> None:
    """Insert the single head row and the counters into an empty schema (used by the migration)."""
    connection.execute(insert(log_head).values(id=_HEAD, commit_no=0, erasure_epoch=0))
    connection.execute(insert(counters).values(name="identity_no", next=1))
