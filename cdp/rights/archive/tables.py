"""Archives: sealed, short-lived. No column holds anything personal in clear."""

from __future__ import annotations

from sqlalchemy import Column, Table

from cdp.store import Bytes, Flag, Instant, Name, Number, metadata

archives = Table(
    "archives",
    metadata,
    Column("request_id", Name, primary_key=True),
    Column("batch", Number, nullable=False),
    Column("attempt", Number, nullable=False),  # the building that counts; chunks of others are left over
    Column("kind", Name, nullable=False),
    Column("state", Name, nullable=False),
    Column("bucket", Name, nullable=False),  # the key of the chunks, destroyed with the row
    Column("started_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False, index=True),
    Column("done", Number, nullable=False),
    Column("total", Number, nullable=False),
    Column("chunks", Number, nullable=False),
    Column("bytes", Number, nullable=False),
    Column("sha256", Name, nullable=False),
    Column("ready_at", Instant),
)

archive_identities = Table(
    "archive_identities",
    metadata,
    Column("request_id", Name, primary_key=True),
    Column("identity_no", Number, primary_key=True, autoincrement=False, index=True),
    Column("proved", Flag, nullable=False),
    sqlite_with_rowid=False,
)
"""Whose data an archive holds: with any one of them the whole archive goes."""

archive_chunks = Table(
    "archive_chunks",
    metadata,
    Column("request_id", Name, primary_key=True),
    Column("attempt", Number, primary_key=True, autoincrement=False),
    Column("chunk_no", Number, primary_key=True, autoincrement=False),  # from 0, without gaps
    Column("sealed", Bytes, nullable=False),  # under the archive's own bucket key
)
