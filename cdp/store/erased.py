"""Who was erased: asked by every stage that keeps numbers of people, in memory, in files or in rows."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sized
from typing import Any, Protocol

from pyroaring import BitMap
from sqlalchemy import Column, Connection, Select, delete, func, select

from cdp.store.columns import read_numbers
from cdp.store.commit import read_head
from cdp.store.dialect import among, chunks
from cdp.store.metadata import erased_identities

_FEW = 20_000  # of so many each is looked up; of more, everybody who was ever erased is read


class Numbers(Sized, Iterable[int], Protocol):
    """A set of identity numbers."""


def erased(connection: Connection, among_these: Numbers | None = None) -> BitMap:
    """Return who was erased, as ``connection`` sees it.

    :param among_these: only of these; of everybody when None.
    """
    e = erased_identities.c
    query = select(e.identity_no)
    if among_these is None:
        return _set(connection, query)
    if len(among_these) > _FEW:
        return _set(connection, query) & BitMap(among_these)
    parts = [_set(connection, query.where(among(e.identity_no, chunk))) for chunk in chunks(among_these)]
    return BitMap.union(BitMap(), *parts)


def erased_since(connection: Connection, epoch: int) -> BitMap:
    """Return whom erasures told of at an ``erasure_epoch`` or later."""
    e = erased_identities.c
    return _set(connection, select(e.identity_no).where(e.epoch >= epoch))


def bound_in(connection: Connection, identity_nos: Iterable[int]) -> list[int]:
    """Return the batches in which erasures bound that were of any of these identities, ascending."""
    e, found = erased_identities.c, set[int]()
    for chunk in chunks(identity_nos):
        found.update(connection.execute(select(e.batch).where(among(e.identity_no, chunk))).scalars())
    return sorted(found)


def told_at(connection: Connection, batch: int) -> int:
    """Return the ``erasure_epoch`` at which it was told last whom the erasure that bound in a batch is of."""
    e = erased_identities.c
    return int(connection.execute(select(func.max(e.epoch)).where(e.batch == batch)).scalar() or 0)


def erased_by(connection: Connection, batch: int) -> list[int]:
    """Return whom the erasure that bound in a batch is of, ascending."""
    e = erased_identities.c
    query = select(e.identity_no).where(e.batch == batch).order_by(e.identity_no)
    return list(connection.execute(query).scalars())


def forget_rows(connection: Connection, column: Column[int], identity_nos: Iterable[int]) -> int:
    """Delete the rows in which ``column`` is one of these identities; returns how many."""
    done = 0
    for chunk in chunks(identity_nos):
        done += connection.execute(delete(column.table).where(among(column, chunk))).rowcount
    return done


class Erased:
    """Everybody who was erased, kept in memory and read on from where it was.

    Ask it with a snapshot, not in a batch that erases: what is rolled back would stay in memory.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epoch = -1
        self._numbers = BitMap()

    def __call__(self, connection: Connection) -> BitMap:
        """Return who was erased up to the snapshot of ``connection``, or later."""
        _, epoch = read_head(connection)
        with self._lock:
            if epoch > self._epoch:
                e = erased_identities.c
                query = select(e.identity_no).where(e.epoch > self._epoch)
                self._numbers, self._epoch = self._numbers | _set(connection, query), epoch
            return self._numbers


def _set(connection: Connection, query: Select[Any]) -> BitMap:
    (numbers,) = read_numbers(connection, query).T
    return BitMap(numbers.tolist())
