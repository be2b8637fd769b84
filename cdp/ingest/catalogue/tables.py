"""The data catalogue: events and fields of each source."""

from __future__ import annotations

from sqlalchemy import Column, Table

from cdp.store import Instant, Name, Number, metadata

seen_events = Table(
    "seen_events",
    metadata,
    Column("source_id", Number, primary_key=True, autoincrement=False),
    Column("type", Name, primary_key=True),  # "" for all events of the source together
    Column("name", Name, primary_key=True),  # of a form that cannot be personal, else ""
    Column("seen", Number, nullable=False),
    Column("looked_at", Number, nullable=False),
    Column("first_seen_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
)

seen_fields = Table(
    "seen_fields",
    metadata,
    Column("source_id", Number, primary_key=True, autoincrement=False),
    Column("event_type", Name, primary_key=True),
    Column("event_name", Name, primary_key=True),
    Column("part", Name, primary_key=True),  # properties | traits | context | identifiers
    Column("name", Name, primary_key=True),  # of a form that cannot be personal
    Column("type", Name, primary_key=True),
    Column("seen", Number, nullable=False),
    Column("first_seen_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
)
"""What sources send, by name and type: never a value."""
