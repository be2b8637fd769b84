"""Identities, their blind indexes, link candidates and the identity→profile map."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from cdp.store import Bytes, Flag, Instant, Name, Number, metadata

identities = Table(
    "identities",
    metadata,
    Column("identity_no", Number, primary_key=True, autoincrement=False),
    Column("type", Name, nullable=False),
    Column("value", Bytes, nullable=False),  # sealed, row key = identity_no as 8 bytes
    Column("created_at", Instant, nullable=False),
    Column("first_event_id", Bytes, nullable=False),
    Column("batch", Number, nullable=False),
)

identifier_index = Table(
    "identifier_index",
    metadata,
    Column("blind_index", Bytes, primary_key=True),
    Column("identity_no", Number, nullable=False, index=True),
    sqlite_with_rowid=False,
)

link_candidates = Table(
    "link_candidates",
    metadata,
    Column("low", Number, primary_key=True, autoincrement=False),
    Column("high", Number, primary_key=True, autoincrement=False),
    Column("occurred_at", Instant, primary_key=True, autoincrement=False),  # client's uncorrected
    Column("event_id", Bytes, primary_key=True),
    Column("position", Number, nullable=False),  # place in the event's priority order
    Column("received_at", Instant, nullable=False),
    Column("verified", Flag, nullable=False),  # not by a browser, whose key is public
    Column("batch", Number, nullable=False),
    Index(None, "high"),
)

links = Table(
    "links",
    metadata,
    Column("low", Number, primary_key=True, autoincrement=False),
    Column("high", Number, primary_key=True, autoincrement=False),
    Column("batch", Number, primary_key=True, autoincrement=False),
    Column("accepted", Flag, nullable=False),
    Column("reason", Name, nullable=False),
    Column("event_id", Bytes, nullable=False),
    Column("rules_version", Number, nullable=False),
    Column("decided_at", Instant, nullable=False),
)
"""Append-only history of what was decided about each candidate pair; the newest row holds."""

link_suppressions = Table(
    "link_suppressions",
    metadata,
    Column("low", Number, primary_key=True, autoincrement=False),
    Column("high", Number, primary_key=True, autoincrement=False),
    Column("batch", Number, primary_key=True, autoincrement=False),
    Column("suppressed", Flag, nullable=False),
    Column("actor", Name, nullable=False),
    Column("decided_at", Instant, nullable=False),
)
"""Append-only: a steward revoked a pair, or re-admitted it; the newest row holds."""

profile_members = Table(
    "profile_members",
    metadata,
    Column("identity_no", Number, primary_key=True, autoincrement=False),
    Column("profile_no", Number, nullable=False, index=True),
    Column("cluster_no", Number, nullable=False, index=True),  # component of candidates
    Column("batch", Number, nullable=False, index=True),  # that last changed this row
)
"""The identity→profile map: derived from candidates, rules and suppressions, rebuildable."""
