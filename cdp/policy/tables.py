"""Bundles as they were activated, who proposed and approved them, and the kill switches: append-only."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from cdp.store import Bytes, Flag, Instant, Json, Name, Number, metadata

policy_bundles = Table(
    "policy_bundles",
    metadata,
    Column("sha256", Name, primary_key=True),
    Column("files", Bytes, nullable=False),  # zlib over MessagePack: {name: content}
    Column("created_at", Instant, nullable=False),
    Column("created_by", Name, nullable=False),
)

policy_proposals = Table(
    "policy_proposals",
    metadata,
    Column("proposal_id", Name, primary_key=True),
    Column("batch", Number, nullable=False),
    Column("sha256", Name, nullable=False),
    Column("base", Name, nullable=False),  # SHA-256 of what was in force, which the summary compares with
    Column("proposed_by", Name, nullable=False),
    Column("proposed_at", Instant, nullable=False),
    Column("summary", Json, nullable=False),  # the difference, in numbers
    Index(None, "proposed_at"),
)

policy_activations = Table(
    "policy_activations",
    metadata,
    Column("activation_no", Number, primary_key=True, autoincrement=False),
    Column("batch", Number, nullable=False),
    Column("sha256", Name, nullable=False),
    Column("proposal_id", Name, nullable=False),  # empty for one of the system
    Column("proposed_by", Name, nullable=False),
    Column("proposed_at", Instant, nullable=False),
    Column("approved_by", Name, nullable=False),
    Column("activated_at", Instant, nullable=False),
    Column("four_eyes", Flag, nullable=False),  # whether two officers were asked for
    Column("summary", Json, nullable=False),
)
"""The newest row is what is in force."""

policy_rejections = Table(
    "policy_rejections",
    metadata,
    Column("proposal_id", Name, primary_key=True),
    Column("batch", Number, nullable=False),
    Column("rejected_by", Name, nullable=False),
    Column("rejected_at", Instant, nullable=False),
)

destination_switches = Table(
    "destination_switches",
    metadata,
    Column("switch_no", Number, primary_key=True, autoincrement=False),
    Column("batch", Number, nullable=False),
    Column("destination", Name, nullable=False),
    Column("enabled", Flag, nullable=False),
    Column("reason", Name, nullable=False),  # a short code
    Column("switched_by", Name, nullable=False),
    Column("switched_at", Instant, nullable=False),
)
"""The newest row of a destination holds; one that was switched off stays off under any bundle."""
