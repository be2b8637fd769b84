"""Reads and writes of the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
from sqlalchemy import Connection, func, insert, select, update

from cdp.audit.check import Head, StoredCheckpoint, StoredEntry
from cdp.audit.entry import decode
from cdp.audit.merkle import HASH_BYTES
from cdp.audit.model import AuditEntry, Checkpoint, Origin
from cdp.audit.tables import (
    audit_details,
    audit_entries,
    audit_head,
    audit_nodes,
    audit_origins,
    audit_subjects,
    checkpoints,
)
from cdp.clock import Micros
from cdp.store import among, chunks, forget_rows, insert_many

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
    "segment",
    "detail_hashes",
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


def entries_at(connection: Connection, indexes: Iterable[int]) -> list[AuditEntry]:
    """Return the entries at ``indexes``, newest first."""
    e = audit_entries.c
    query = select(e.leaf_index, e.entry).where(among(e.leaf_index, indexes)).order_by(e.leaf_index.desc())
    return [decode(int(row.leaf_index), bytes(row.entry)) for row in connection.execute(query)]


def entry(connection: Connection, index: int) -> AuditEntry | None:
    """Return one entry."""
    query = select(audit_entries.c.entry).where(audit_entries.c.leaf_index == index)
    found = connection.execute(query).scalar()
    return None if found is None else decode(index, bytes(found))


def first_of(connection: Connection, commit_no: int, at: Micros) -> int | None:
    """Return the index of the first entry of a commit that was made at ``at``."""
    e = audit_entries.c
    query = select(func.min(e.leaf_index)).where(e.at == at, e.commit_no == commit_no)
    return connection.execute(query).scalar()


def forget(connection: Connection, identity_nos: Iterable[int]) -> None:
    """Delete identities from the index of subjects, and their details."""
    numbers = list(identity_nos)
    for table in (audit_subjects, audit_details):
        forget_rows(connection, table.c.identity_no, numbers)


def add_details(connection: Connection, rows: Sequence[tuple[int, int, bytes]]) -> None:
    """Store sealed details: (leaf_index, identity_no, envelope)."""
    insert_many(connection, audit_details, ("leaf_index", "identity_no", "detail"), rows)


def details_of(connection: Connection, index: int) -> list[tuple[int, bytes]]:
    """Return the details of an entry that are not erased: (identity_no, envelope)."""
    d = audit_details.c
    query = select(d.identity_no, d.detail).where(d.leaf_index == index).order_by(d.identity_no)
    return [(int(row.identity_no), bytes(row.detail)) for row in connection.execute(query)]


def detail_count(connection: Connection, index: int) -> int:
    """Return how many details an entry was written with."""
    query = select(func.length(audit_entries.c.detail_hashes)).where(audit_entries.c.leaf_index == index)
    return int(connection.execute(query).scalar() or 0) // HASH_BYTES


def stream_details(connection: Connection) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield every detail of an entry with the hashes that the entry has: (leaf_index, envelope, hashes)."""
    d, e = audit_details.c, audit_entries.c
    query = select(d.leaf_index, d.detail, e.detail_hashes).order_by(d.leaf_index)
    query = query.join_from(audit_details, audit_entries, d.leaf_index == e.leaf_index)
    with connection.execute(query, execution_options=_STREAMED) as rows:
        for row in rows:
            yield int(row.leaf_index), bytes(row.detail), bytes(row.detail_hashes or b"")


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
