"""Reads and writes of the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, delete, func, insert, select, update

from cdp.audit.check import Head, StoredCheckpoint, StoredEntry
from cdp.audit.entry import decode
from cdp.audit.model import AuditEntry, AuditFilter, Checkpoint, Origin
from cdp.audit.tables import (
    audit_entries,
    audit_head,
    audit_nodes,
    audit_origins,
    audit_subjects,
    checkpoints,
)
from cdp.clock import Micros
from cdp.store import among, chunks, insert_many

_STREAMED = {"yield_per": 1000}  # rows in memory at a time, also inside the driver
_ENTRY_COLUMNS = (
    "leaf_index",
    "entry",
    "commit_no",
    "at",
    "actor",
    "action",
    "outcome",
    "purpose",
    "destination",
    "subject_refs",
)


def read_head(connection: Connection) -> Head:
    """Return the log's head."""
    row = connection.execute(select(audit_head.c.size, audit_head.c.frontier)).one()
    return Head(int(row.size), bytes(row.frontier))


def append(
    connection: Connection,
    head: Head,
    entries: Sequence[StoredEntry],
    nodes: Sequence[tuple[int, bytes]],
    subjects: Sequence[tuple[int, int]],
) -> None:
    """Store new entries with their nodes and (identity_no, index) pairs, and move the head to ``head``.

    The caller holds the log-head lock.
    """
    insert_many(connection, audit_entries, _ENTRY_COLUMNS, entries)
    insert_many(connection, audit_nodes, ("position", "hash"), nodes)
    insert_many(connection, audit_subjects, ("identity_no", "leaf_index"), subjects)
    connection.execute(update(audit_head).values(size=head.size, frontier=head.frontier))


def nodes_at(connection: Connection, positions: Iterable[int]) -> dict[int, bytes]:
    """Return the stored hashes at ``positions``."""
    found: dict[int, bytes] = {}
    for chunk in chunks(positions):
        query = select(audit_nodes).where(among(audit_nodes.c.position, chunk))
        found |= {int(row.position): bytes(row.hash) for row in connection.execute(query)}
    return found


def search(
    connection: Connection, wanted: AuditFilter, limit: int, after_index: int | None
) -> list[AuditEntry]:
    """Return entries that match, newest first, older than ``after_index``."""
    query = _matching(select(audit_entries.c.leaf_index, audit_entries.c.entry), wanted)
    if after_index is not None:
        query = query.where(audit_entries.c.leaf_index < after_index)
    query = query.order_by(audit_entries.c.leaf_index.desc()).limit(limit)
    return [decode(int(row.leaf_index), bytes(row.entry)) for row in connection.execute(query)]


def first_of(connection: Connection, commit_no: int, at: Micros) -> int | None:
    """Return the index of the first entry of a commit that was made at ``at``."""
    e = audit_entries.c
    query = select(func.min(e.leaf_index)).where(e.at == at, e.commit_no == commit_no)
    return connection.execute(query).scalar()


def count(connection: Connection, wanted: AuditFilter) -> int:
    """Return how many entries match."""
    query = _matching(select(func.count()).select_from(audit_entries), wanted)
    return int(connection.execute(query).scalar_one())


def _matching(query: Select[Any], wanted: AuditFilter) -> Select[Any]:
    columns = audit_entries.c
    for name in ("actor", "action", "purpose", "destination", "outcome"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(columns[name] == value)
    if wanted.from_ is not None:
        query = query.where(columns.at >= wanted.from_)
    if wanted.to is not None:
        query = query.where(columns.at < wanted.to)
    if wanted.identity_nos is not None:
        concerned = select(audit_subjects.c.leaf_index).where(
            among(audit_subjects.c.identity_no, wanted.identity_nos)
        )
        query = query.where(columns.leaf_index.in_(concerned))
    return query


def forget(connection: Connection, identity_nos: Iterable[int]) -> None:
    """Delete identities from the index of subjects."""
    for chunk in chunks(identity_nos):
        connection.execute(delete(audit_subjects).where(among(audit_subjects.c.identity_no, chunk)))


def stream_entries(connection: Connection) -> Iterator[StoredEntry]:
    """Yield every entry by index."""
    query = select(*(audit_entries.c[name] for name in _ENTRY_COLUMNS)).order_by(audit_entries.c.leaf_index)
    with connection.execute(query, execution_options=_STREAMED) as rows:
        for row in rows:
            yield StoredEntry(*row)


def stream_nodes(connection: Connection) -> Iterator[tuple[int, bytes]]:
    """Yield every stored hash by position."""
    query = select(audit_nodes.c.position, audit_nodes.c.hash).order_by(audit_nodes.c.position)
    with connection.execute(query, execution_options=_STREAMED) as rows:
        for row in rows:
            yield int(row.position), bytes(row.hash)


def stream_checkpoints(connection: Connection) -> Iterator[StoredCheckpoint]:
    """Yield every checkpoint by size."""
    query = select(checkpoints).order_by(checkpoints.c.size)
    with connection.execute(query, execution_options=_STREAMED) as rows:
        for row in rows:
            yield StoredCheckpoint(int(row.size), bytes(row.root), row.note)


def latest_checkpoint(connection: Connection) -> Checkpoint | None:
    """Return the checkpoint with the largest size."""
    row = connection.execute(select(checkpoints).order_by(checkpoints.c.size.desc()).limit(1)).first()
    if row is None:
        return None
    return Checkpoint(size=int(row.size), root=bytes(row.root), note=row.note, signed_at=int(row.signed_at))


def log_position(connection: Connection) -> tuple[int, str]:
    """Return the log's size and the note of its newest checkpoint, empty when there is none."""
    newest = latest_checkpoint(connection)
    return read_head(connection).size, "" if newest is None else newest.note


def add_checkpoint(connection: Connection, checkpoint: Checkpoint) -> None:
    """Store a checkpoint; a size that has one already fails on the primary key."""
    connection.execute(
        insert(checkpoints).values(
            size=checkpoint.size,
            root=checkpoint.root,
            note=checkpoint.note,
            signed_at=checkpoint.signed_at,
        )
    )


def origins(connection: Connection) -> list[Origin]:
    """Return the origins that were opened after the first, in their order."""
    query = select(audit_origins).order_by(audit_origins.c.start)
    return [
        Origin(start=int(row.start), name=row.name, closed=row.closed, opened_at=int(row.opened_at))
        for row in connection.execute(query)
    ]


def add_origin(connection: Connection, origin: Origin) -> None:
    """Store a new origin."""
    connection.execute(insert(audit_origins).values(msgspec.to_builtins(origin)))
