"""Runs of retention and legal holds. No column holds anything personal in clear."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from cdp.store import Flag, Instant, Json, Name, Number, metadata

retention_runs = Table(
    "retention_runs",
    metadata,
    Column("run_id", Name, primary_key=True),
    Column("dry", Flag, nullable=False),
    Column("actor", Name, nullable=False),
    Column("schedule", Name, nullable=False),
    Column("now", Instant, nullable=False),
    Column("state", Name, nullable=False),
    Column("position", Number, nullable=False),
    Column("upto", Number, nullable=False),
    Column("counts", Json, nullable=False),
    Column("identities", Number, nullable=False),
    Column("changed_at", Instant, nullable=False),  # when its process last worked: the lease
    Index(None, "now", "run_id"),
)

legal_holds = Table(
    "legal_holds",
    metadata,
    Column("hold_id", Name, primary_key=True),
    Column("batch", Number, nullable=False),
    Column("identity_no", Number, nullable=False, index=True),  # 0: everybody
    Column("categories", Json, nullable=False),
    Column("reason", Name, nullable=False),
    Column("reference", Name, nullable=False),
    Column("placed_by", Name, nullable=False),
    Column("placed_at", Instant, nullable=False),
    Column("lifted_at", Instant),
)
