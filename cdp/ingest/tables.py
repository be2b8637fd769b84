"""Events, the de-duplication keys and the quarantine."""

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
)

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
