"""The audit log's tables.

Only ``audit_subjects`` and ``audit_details`` are ever deleted from (``forget``); everything else only grows,
and ``audit_head`` moves forward under the log-head lock of the commit order. What is searched for is found
through the index of ``cdp/audit/asking``.
"""

from __future__ import annotations

from sqlalchemy import Column, Connection, Index, Table, insert

from cdp.store import Bytes, Instant, Name, Number, metadata

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),  # always 1
    Column("size", Number, nullable=False),
    Column("frontier", Bytes, nullable=False),  # packed, see merkle.Frontier
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("leaf_index", Number, primary_key=True, autoincrement=False),
    Column("entry", Bytes, nullable=False),  # the logged bytes: all that follows is only for search
    Column("commit_no", Number, nullable=False),
    Column("at", Instant, nullable=False),
    Column("actor", Name, nullable=False),
    Column("action", Name, nullable=False),
    Column("outcome", Name, nullable=False),
    Column("purpose", Name, nullable=False),
    Column("destination", Name, nullable=False),
    Column("subject_refs", Bytes),  # sorted references, packed; the entry holds their Merkle root
    Column("segment", Name),  # ``segment`` of the entry's object
    Column("detail_hashes", Bytes),  # sorted leaf hashes of its details, packed; the entry holds their root
    Index(None, "at"),
)

audit_nodes = Table(
    "audit_nodes",
    metadata,
    Column("position", Number, primary_key=True, autoincrement=False),  # merkle.position(level, index)
    Column("hash", Bytes, nullable=False),
)

audit_subjects = Table(
    "audit_subjects",
    metadata,
    Column("identity_no", Number, primary_key=True, autoincrement=False),
    Column("leaf_index", Number, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

audit_details = Table(
    "audit_details",
    metadata,
    Column("leaf_index", Number, primary_key=True, autoincrement=False),
    Column("identity_no", Number, primary_key=True, autoincrement=False),
    Column("detail", Bytes, nullable=False),  # sealed under the subject's ``person`` key
    Index(None, "identity_no"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("size", Number, primary_key=True, autoincrement=False),  # so: one root for each size
    Column("root", Bytes, nullable=False),
    Column("note", Name, nullable=False),  # the signed note as published
    Column("signed_at", Instant, nullable=False),
)


audit_origins = Table(
    "audit_origins",
    metadata,
    Column("start", Number, primary_key=True, autoincrement=False),  # index of its first entry
    Column("name", Name, nullable=False, unique=True),
    Column("closed", Name, nullable=False),  # signed note: the last checkpoint of the origin before
    Column("opened_at", Instant, nullable=False),
)
"""New origins under which the log went on when it had fallen behind its own checkpoint; mostly none."""


def initialise(connection: Connection) -> None:
    """Insert the single head row into an empty schema (used by the migration)."""
    connection.execute(insert(audit_head).values(id=1, size=0, frontier=b""))
