"""Requests of people about their data. Append-only; no column holds anything personal in clear."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from cdp.store import Instant, Name, Number, metadata

rights_requests = Table(
    "rights_requests",
    metadata,
    Column("request_id", Name, primary_key=True),
    Column("batch", Number, nullable=False),
    Column("identity_no", Number, nullable=False, index=True),
    Column("kind", Name, nullable=False),
    Column("channel", Name, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Index(None, "opened_at", "request_id"),
)

rights_states = Table(
    "rights_states",
    metadata,
    Column("request_id", Name, primary_key=True),
    Column("step", Number, primary_key=True, autoincrement=False),  # from 0, without gaps; the newest holds
    Column("batch", Number, nullable=False),
    Column("state", Name, nullable=False),
    Column("at", Instant, nullable=False),
)
"""Two that race for the same step cannot both win."""
