"""Trait observations, append-only per identity."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from cdp.store import Bytes, Instant, Json, Name, Number, metadata

trait_observations = Table(
    "trait_observations",
    metadata,
    Column("batch", Number, primary_key=True, autoincrement=False),
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("identity_no", Number, nullable=False),
    Column("name", Name, nullable=False),
    Column("value", Json),  # JSON of a declared, clear value
    Column("sealed", Bytes),  # envelope over the JSON of any other value; row key = event_id
    Column("source_id", Number, nullable=False),
    Column("observed_at", Instant, nullable=False),
    Column("event_id", Bytes, nullable=False),
    Index(None, "identity_no", "name"),
)
