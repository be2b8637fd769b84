"""Tracking plans, and how often events did not fit them."""

from __future__ import annotations

from sqlalchemy import Column, Table

from cdp.store import Instant, Json, Name, Number, metadata

tracking_plans = Table(
    "tracking_plans",
    metadata,
    Column("source_id", Number, primary_key=True, autoincrement=False),
    Column("version", Number, primary_key=True, autoincrement=False),
    Column("plan", Json),  # NULL: none from here on; a later version may follow
    Column("created_at", Instant, nullable=False),
    Column("created_by", Name, nullable=False),
    Column("batch", Number, nullable=False),
)
"""Append-only versions; the highest one of a source holds."""

plan_violations = Table(
    "plan_violations",
    metadata,
    Column("source_id", Number, primary_key=True, autoincrement=False),
    Column("version", Number, primary_key=True, autoincrement=False),
    Column("event", Name, primary_key=True),  # as the plan names it
    Column("place", Name, primary_key=True),  # names of the plan, or of a form that cannot be personal
    Column("kind", Name, primary_key=True),  # the keyword of JSON Schema
    Column("seen", Number, nullable=False),
    Column("first_seen_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
)
