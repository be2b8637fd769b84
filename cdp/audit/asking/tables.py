"""The index of the audit log: derived from the entries, deleted and made again at will.

A *span* is a run of consecutive entries that the index covers. ``audit_postings`` holds, for each span, which
of its entries have a value: a Roaring bitmap of places counted from the span's start. What lies behind the
last span is read from the entries themselves. No row here says anything of a person.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from cdp.store import Bytes, Instant, Name, Number, metadata

audit_spans = Table(
    "audit_spans",
    metadata,
    Column("start", Number, primary_key=True, autoincrement=False),
    Column("width", Number, nullable=False),
    Column("first_at", Instant, nullable=False),  # the earliest and latest instant of its entries
    Column("last_at", Instant, nullable=False),
)

audit_instants = Table(
    "audit_instants",
    metadata,
    Column("start", Number, primary_key=True, autoincrement=False),  # of a narrow span, merged or not
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
)

audit_postings = Table(
    "audit_postings",
    metadata,
    Column("field", Name, primary_key=True),
    Column("value", Name, primary_key=True),
    Column("start", Number, primary_key=True, autoincrement=False),
    Column("members", Bytes, nullable=False),
    Index(None, "start"),
)

audit_days = Table(
    "audit_days",
    metadata,
    Column("day", Number, primary_key=True, autoincrement=False),  # since 1970-01-01 UTC
    Column("purpose", Name, primary_key=True),
    Column("destination", Name, primary_key=True),
    Column("action", Name, primary_key=True),
    Column("outcome", Name, primary_key=True),
    Column("entries", Number, nullable=False),
    Column("people", Number, nullable=False),
)
