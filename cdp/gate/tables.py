"""Exports as decided and fetched.

No column holds personal data, and every set here holds identity_no, as it outlives its snapshot.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from cdp.store import Bytes, Instant, Json, Name, Number, metadata

exports = Table(
    "exports",
    metadata,
    Column("export_id", Name, primary_key=True),
    Column("batch", Number, nullable=False, unique=True),
    Column("audit_index", Number, nullable=False),  # of the entry export.authorise
    Column("created_at", Instant, nullable=False),
    Column("requested_by", Number, nullable=False),
    Column("segment", Name, nullable=False),
    Column("segment_version", Number, nullable=False),
    Column("segment_as_of", Number, nullable=False),
    Column("destination", Name, nullable=False),
    Column("purpose", Name, nullable=False),
    Column("format", Name, nullable=False),
    Column("bundle", Name, nullable=False),  # SHA-256 of the policies decided under
    Column("ledger_position", Number, nullable=False),  # L
    Column("valid_until", Instant),  # from then on time alone may have taken a permission away
    Column("inputs", Json, nullable=False),  # categories that the definition reads
    Column("fields", Json, nullable=False),
    Column("plan", Json, nullable=False),
    Column("counts", Json, nullable=False),
    Column("noised", Json, nullable=False),  # what marketers see, fixed when it was decided
    Column("manifest", Bytes, nullable=False),  # sorted leaves: position(32) ‖ value(32)
    Column("manifest_root", Bytes, nullable=False),  # root(M)
    Column("changed", Bytes, nullable=False),  # D, a BitMap of identity_no
    Column("changed_root", Bytes, nullable=False),  # root(D)
    Index(None, "created_at"),
    Index(None, "destination", "created_at"),
    Index(None, "requested_by", "created_at"),
)

export_classes = Table(
    "export_classes",
    metadata,
    Column("export_id", Name, primary_key=True),
    Column("class_no", Number, primary_key=True, autoincrement=False),
    Column("plan", Json, nullable=False),
    Column("identities", Bytes, nullable=False),  # a BitMap of identity_no
)

export_fetches = Table(
    "export_fetches",
    metadata,
    Column("fetch_no", Number, primary_key=True, autoincrement=False),
    Column("export_id", Name, nullable=False, index=True),
    Column("key_id", Number, nullable=False),
    Column("batch", Number, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),  # NULL: all of M∖D counts as delivered
    Column("skipped", Bytes),  # a BitMap of identity_no
)

destination_anchors = Table(
    "destination_anchors",
    metadata,
    Column("destination", Name, primary_key=True),
    Column("identities", Bytes, nullable=False),  # a BitMap of identity_no: who a profile_ref is made from
)
