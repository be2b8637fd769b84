"""The consent ledger and the states derived from it."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from cdp.store import Bytes, Flag, Instant, Json, Name, Number, metadata

consent_records = Table(
    "consent_records",
    metadata,
    Column("record_id", Number, primary_key=True, autoincrement=False),
    Column("batch", Number, nullable=False, index=True),
    Column("identity_no", Number, nullable=False, index=True),
    Column("purpose", Name, nullable=False),
    Column("state", Name, nullable=False),
    Column("act", Flag, nullable=False),
    Column("event_time", Instant, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("source_kind", Name, nullable=False),
    Column("source_id", Number, nullable=False),
    Column("verified", Flag, nullable=False),
    Column("event_type", Name, nullable=False),
    Column("legal_basis", Name, nullable=False),
    Column("signal", Name, nullable=False),
    Column("expires_at", Instant),
    Column("notice_id", Name, nullable=False),
    Column("notice_version", Number),
    Column("notice_sha256", Name, nullable=False),
    Column("language", Name, nullable=False),
    Column("method", Name, nullable=False),
    Column("jurisdiction", Name, nullable=False),
    Column("recipients", Json, nullable=False),
    Column("sealed", Bytes),  # evidence, under the identity's proof key; row key = record_id, 8 bytes
    Column("said_of", Number),  # identity whom a restraint was said of; nothing: its own
)
"""Append-only."""

consent_proofs = Table(
    "consent_proofs",
    metadata,
    Column("record_id", Number, primary_key=True, autoincrement=False),
    Column("identity_no", Number, nullable=False, index=True),
    Column(
        "sealed", Bytes, nullable=False
    ),  # the record, under the identity's proof key; row key = record_id
)
"""What was said by people who were erased, for as long as policies keep it: the ledger knows it no more."""

consent_standings = Table(
    "consent_standings",
    metadata,
    Column("projection", Name, primary_key=True),  # the purpose and what it was derived by (``Rules.names``)
    Column("profile_no", Number, primary_key=True, autoincrement=False),
    Column("state", Name, nullable=False),
    Column("reason", Name, nullable=False),
    Column("since", Instant, nullable=False),
    Column("granted_at", Instant),
    Column("expires_at", Instant),
    Column("event_type", Name, nullable=False),
    Column("notice_current", Flag, nullable=False),
    Column("recipients", Json, nullable=False),
    Column("record_id", Number),
    Column("batch", Number, nullable=False, index=True),  # that last changed this row; 0: made ahead
    Column("named", Json, nullable=False),  # what holds for each recipient, where it differs
    Column("notice_given", Instant),
    Index(None, "profile_no"),
    sqlite_with_rowid=False,
)
"""Derived, rebuildable: purposes about which nothing was ever said have no row; age is checked at read."""

consent_projections = Table(
    "consent_projections",
    metadata,
    Column("name", Name, primary_key=True),
    Column("upto", Number),  # nothing: whole. A commit: made as of then or later. -1: discarded
    Column("reached", Number),  # made of the identities up to this; nothing: of everybody
)
"""How far the states under each name have come."""
