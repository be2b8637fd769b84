"""Events, the de-duplication keys, the quarantine and the counts of what became of events."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from cdp.store import Bytes, Instant, Json, Name, Number, metadata

events = Table(
    "events",
    metadata,
    Column("batch", Number, primary_key=True, autoincrement=False),
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("identity_no", Number, nullable=False),
    Column("event_id", Bytes, nullable=False),  # 16 bytes (see `Event`)
    Column("source_id", Number, nullable=False),
    Column("type", Name, nullable=False),  # identify | track | page | screen | group | alias
    Column("name", Name, nullable=False),
    Column("occurred_at", Instant, nullable=False),  # corrected for clock skew
    Column("received_at", Instant, nullable=False),
    Column("stamped_at", Instant, nullable=False),  # the client's own, uncorrected
    Column("properties", Json),  # declared and clear; NULL when there are none
    Column("sealed", Bytes),  # all the rest of the message, one envelope
    Index(None, "identity_no", "occurred_at"),
)

event_keys = Table(
    "event_keys",
    metadata,
    Column("day", Number, primary_key=True, autoincrement=False),  # of the raw client timestamp
    Column("event_id", Bytes, primary_key=True),
    Column("batch", Number, nullable=False),  # that claimed it
    sqlite_with_rowid=False,
)

event_key_days = Table(
    "event_key_days",
    metadata,
    Column("day", Number, primary_key=True, autoincrement=False),
    Column("last_insert_on", Number, nullable=False),  # day number; dropped 30 days after it
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("quarantine_id", Number, primary_key=True, autoincrement=False),
    Column("batch", Number, nullable=False),
    Column("source_id", Number, nullable=False),
    Column("kind", Name, nullable=False),
    Column("cause", Name, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("bucket", Name, nullable=False),
    Column("sealed", Bytes, nullable=False),
    Column("replayed_at", Instant),
    Column("reason", Name, nullable=False, server_default="unexpected"),  # finer than the kind
    Index(None, "received_at"),
    Index(None, "bucket"),
)

quarantine_index = Table(
    "quarantine_index",
    metadata,
    Column("term", Bytes, primary_key=True),  # 8 bytes, keyed; empty: opened for everybody
    Column("quarantine_id", Number, primary_key=True, autoincrement=False),
    Index(None, "quarantine_id"),
    sqlite_with_rowid=False,
)

ingest_counts = Table(
    "ingest_counts",
    metadata,
    Column("day", Number, primary_key=True, autoincrement=False),  # of receipt, since 1970
    Column("source_id", Number, primary_key=True, autoincrement=False),
    Column("outcome", Name, primary_key=True),
    Column("batch", Number, primary_key=True, autoincrement=False),  # or a number for the sum of several
    Column("events", Number, nullable=False),
    sqlite_with_rowid=False,
)
"""What became of what each source sent. Each batch has rows of its own: no writer waits for another."""

undeclared_fields = Table(
    "undeclared_fields",
    metadata,
    Column("source_id", Number, primary_key=True, autoincrement=False),
    Column("part", Name, primary_key=True),  # traits | properties
    Column("name", Name, primary_key=True),  # of a form that cannot be personal
    Column("type", Name, primary_key=True),
    Column("seen", Number, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
)
"""Where earlier versions counted what stands in ``seen_fields`` now; the next release drops it."""
