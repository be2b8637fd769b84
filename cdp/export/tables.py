"""What waits to be told to destinations, and where to."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from cdp.store import Bytes, Flag, Instant, Name, Number, metadata

outbox = Table(
    "outbox",
    metadata,
    Column("message_id", Name, primary_key=True),
    Column("batch", Number, nullable=False),
    Column("destination", Name, nullable=False),
    Column("purpose", Name, nullable=False),
    Column("segment", Name, nullable=False),
    Column("kind", Name, nullable=False),  # recall.remove | recall.correct
    Column("people", Number, nullable=False),
    Column("payload", Bytes),  # the body, sealed under the key ``outbox/ID``; NULL: done with, key destroyed
    Column("state", Name, nullable=False),  # queued | sent | acknowledged | failed
    Column("created_at", Instant, nullable=False),
    Column("deadline", Instant, nullable=False),  # not acknowledged by then, it is late
    Column("expires_at", Instant, nullable=False),  # its key is destroyed by then, whatever came of it
    Column("attempts", Number, nullable=False),
    Column("next_attempt_at", Instant, nullable=False),
    Column("last_error", Name, nullable=False),
    Column("sent_at", Instant),
    Column("acknowledged_at", Instant),
    Index(None, "destination", "state", "created_at"),
    Index(None, "state", "next_attempt_at"),
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("destination", Name, primary_key=True),
    Column("url", Name, nullable=False),
    Column("enabled", Flag, nullable=False),
    Column("disabled_for", Name, nullable=False),  # gone | exhausted; empty while enabled
    Column("secret_version", Number, nullable=False),  # the secrets lie in the key database
    Column("old_secret_version", Number),
    Column("old_secret_until", Instant),  # until then messages are signed with the one before, too
    Column("slow_until", Instant),  # it asked for a pause, or does not answer
    Column("failures", Number, nullable=False),  # in a row
    Column("changed_at", Instant, nullable=False),
    Column("batch", Number, nullable=False),
)
