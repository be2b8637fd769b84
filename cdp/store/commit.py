"""The commit order: the one place where a transaction is committed.

Invariants:

1. Every writing transaction carries a fresh batch id; its rows carry it too.
2. Its last statements, in this order: lock the log head, take the next ``commit_no``, append its
   audit leaves, write the head. Nothing waits after the head, so ``commit_no`` has no gaps and a
   reader that tails it misses nothing, whatever order transactions began in.
3. If ``erasure_epoch`` moved since the batch began, its keys may be destroyed: it rolls back and
   ``EpochMovedError`` tells the caller to run again.

Lock order everywhere: components, journal, head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, insert, select, update

from cdp.clock import Clock, Micros, random_id
from cdp.errors import ConflictError, StoreError
from cdp.store import dialect
from cdp.store.engine import Store
from cdp.store.metadata import batches, counters, log_head

LeafAppender = Callable[[Connection, int, Micros, Sequence[Any]], list[int]]
"""(connection, commit_no, now, entries) → the index of each entry in the log."""

T = TypeVar("T")
_HEAD = 1
_TRIES = 8


class EpochMovedError(ConflictError):
    """Somebody was erased while this batch ran; run it again."""


class Batch:
    """One writing transaction.

    ``connection`` writes in it, ``id`` marks its rows, ``record`` adds an audit entry. After the
    transaction has committed, ``commit_no`` and ``audit_indexes`` say where it stands.
    """

    __slots__ = ("audit_indexes", "commit_no", "connection", "entries", "epoch", "id")

    def __init__(self, connection: Connection, epoch: int) -> None:
        self.connection = connection
        self.id = random_id()
        self.epoch = epoch
        self.entries: list[Any] = []
        self.commit_no = 0
        self.audit_indexes: list[int] = []

    def record(self, entry: Any) -> None:
        """Add an audit entry (an ``audit.Entry``), appended when the batch commits."""
        self.entries.append(entry)


class Committer:
    """Opens batches and commits them in order.

    :param append: the audit log's leaf appender, injected so that the store knows no stage.
    """

    def __init__(self, store: Store, append: LeafAppender, clock: Clock) -> None:
        self.store = store
        self._append = append
        self._clock = clock

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
                _, epoch = _lock_head(connection) if head_first else read_head(connection)
                batch = Batch(connection, epoch)
                yield batch
                self._finish(batch)
                transaction.commit()
            except BaseException:
                transaction.rollback()
                raise

    def _finish(self, batch: Batch) -> None:
        connection = batch.connection
        commit_no, epoch = _lock_head(connection)
        if epoch != batch.epoch:
            raise EpochMovedError
        batch.commit_no = commit_no + 1
        now = self._clock.now()
        connection.execute(
            insert(batches).values(commit_no=batch.commit_no, batch=batch.id, committed_at=now)
        )
        if batch.entries:
            batch.audit_indexes = self._append(connection, batch.commit_no, now, batch.entries)
        connection.execute(update(log_head).where(log_head.c.id == _HEAD).values(commit_no=batch.commit_no))

    def reserve(self, counter: str, count: int) -> range:
        """Reserve ``count`` consecutive numbers in a committed transaction of its own.

        Reserved numbers are never handed out again, also when nobody uses them.
        """
        with self.store.writing() as connection, connection.begin():
            query = dialect.lock_rows(select(counters.c.next).where(counters.c.name == counter))
            first = int(connection.execute(query).scalar_one())
            connection.execute(update(counters).where(counters.c.name == counter).values(next=first + count))
        return range(first, first + count)


def retrying(work: Callable[[], T]) -> T:
    """Run ``work`` until it is no deadlock victim and no erasure came between (at most 8 times)."""
    for _ in range(_TRIES):
        try:
            return work()
        except EpochMovedError:
            continue
        except Exception as error:
            if not dialect.is_retryable(error):
                raise
    raise StoreError("the batch kept losing against others; it was not stored")


def read_head(connection: Connection) -> tuple[int, int]:
    """Return (commit_no, erasure_epoch) as this connection sees them."""
    query = select(log_head.c.commit_no, log_head.c.erasure_epoch).where(log_head.c.id == _HEAD)
    row = connection.execute(query).one()
    return int(row.commit_no), int(row.erasure_epoch)


def _lock_head(connection: Connection) -> tuple[int, int]:
    query = select(log_head.c.commit_no, log_head.c.erasure_epoch).where(log_head.c.id == _HEAD)
    row = connection.execute(dialect.lock_rows(query)).one()
    return int(row.commit_no), int(row.erasure_epoch)


def commits_since(connection: Connection, commit_no: int, limit: int = 1000) -> list[tuple[int, int]]:
    """Return up to ``limit`` pairs (commit_no, batch id) after ``commit_no``, in order."""
    query = (
        select(batches.c.commit_no, batches.c.batch)
        .where(batches.c.commit_no > commit_no)
        .order_by(batches.c.commit_no)
        .limit(limit)
    )
    return [(int(row.commit_no), int(row.batch)) for row in connection.execute(query)]


def initialise(connection: Connection) -> None:
    """Insert the single head row and the counters into an empty schema (used by the migration)."""
    connection.execute(insert(log_head).values(id=_HEAD, commit_no=0, erasure_epoch=0))
    connection.execute(insert(counters).values(name="identity_no", next=1))
