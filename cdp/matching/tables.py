"""Runs, trained models and the review queue; none of them holds a value of anybody."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from cdp.store import Instant, Json, Name, Number, metadata

match_runs = Table(
    "match_runs",
    metadata,
    Column("run_no", Number, primary_key=True, autoincrement=False),
    Column("state", Name, nullable=False),  # running | done | rehearsed | failed
    Column("actor", Name, nullable=False),
    Column("model_no", Number),
    Column("upto", Number, nullable=False),  # commit_no of what it read
    Column("records", Number, nullable=False),
    Column("excluded", Number, nullable=False),  # people whom it left alone, who restrained it
    Column("pairs", Number, nullable=False),
    Column("linked", Number, nullable=False),
    Column("queued", Number, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("batch", Number, nullable=False),
)

match_models = Table(
    "match_models",
    metadata,
    Column("model_no", Number, primary_key=True, autoincrement=False),
    Column("trained_at", Instant, nullable=False),
    Column("records", Number, nullable=False),
    Column("model", Json, nullable=False),  # probabilities by field and level of agreement
    Column("batch", Number, nullable=False),
)

match_pairs = Table(
    "match_pairs",
    metadata,
    Column("low", Number, primary_key=True, autoincrement=False),
    Column("high", Number, primary_key=True, autoincrement=False, index=True),
    Column("run_no", Number, nullable=False),
    Column("state", Name, nullable=False),  # open | accepted | rejected | linked
    Column("weight", Number, nullable=False),  # log2 of the odds, in thousandths
    Column("waterfall", Json, nullable=False),  # why, and how each field adds to it: field, level, weight
    Column("actor", Name, nullable=False),
    Column("decided_at", Instant),
    Column("batch", Number, nullable=False),
    Index("ix_match_pairs_state", "state", "weight"),
)
"""Pairs of identities, those that carry the traits, that a run linked or put before a steward."""
