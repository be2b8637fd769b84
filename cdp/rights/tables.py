"""Requests of people about their data. No column holds anything personal in clear.

Steps are appended and never change. A request's own row repeats its newest step, so that what is open is
found by index, and holds who works on it.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, false, text

from cdp.store import Bytes, Flag, Instant, Json, Name, Number, metadata

rights_requests = Table(
    "rights_requests",
    metadata,
    Column("request_id", Name, primary_key=True),
    Column("batch", Number, nullable=False),
    Column("identity_no", Number, nullable=False, index=True),  # 0: nobody is known
    Column("kind", Name, nullable=False),
    Column("channel", Name, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("identity_nos", Json, nullable=False, server_default="[]"),
    Column("submitted_at", Instant, nullable=False, server_default="0"),
    Column("regulation", Name, nullable=False, server_default=text("''")),
    Column("external_id", Name, nullable=False, server_default=text("''"), index=True),
    Column("purpose", Name, nullable=False, server_default=text("''")),
    Column("state", Name, nullable=False, server_default="received"),
    Column("state_at", Instant, nullable=False, server_default="0"),
    Column("step", Number, nullable=False, server_default="0"),
    Column("reason", Name, nullable=False, server_default=text("''")),
    Column("result", Json, nullable=False, server_default="{}"),
    Column("begun", Flag, nullable=False, server_default=false()),
    Column("held_until", Instant, nullable=False, server_default="0"),  # the lease of whoever works on it
    Column("acknowledge_by", Instant, nullable=False, server_default="0"),  # 0: no law asks for it
    Column("extended", Flag, nullable=False, server_default=false()),
    Column(
        "waiting", Flag, nullable=False, server_default=false()
    ),  # for somebody's hand, not for a fulfiller
    Column(
        "asked", Bytes, index=True
    ),  # keyed digest of what an unverified asker named, until the check ends
    Index(None, "opened_at", "request_id"),
    Index(None, "state", "opened_at", "request_id"),
    Index(None, "state", "due_at"),
)

rights_states = Table(
    "rights_states",
    metadata,
    Column("request_id", Name, primary_key=True),
    Column("step", Number, primary_key=True, autoincrement=False),  # from 0, without gaps; the newest holds
    Column("batch", Number, nullable=False),
    Column("state", Name, nullable=False),
    Column("at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False, server_default="0"),
    Column("reason", Name, nullable=False, server_default=text("''")),
)
"""Two that race for the same step cannot both win."""

rights_proofs = Table(
    "rights_proofs",
    metadata,
    Column("request_id", Name, primary_key=True),
    Column("proof_no", Number, primary_key=True, autoincrement=False),
    Column("batch", Number, nullable=False),
    Column("method", Name, nullable=False),
    Column("at", Instant, nullable=False),
    Column("sealed", Bytes, nullable=False),  # under the bucket key of its request
)
"""What an identity check looks at: rows and key are gone when it ends."""

rights_told = Table(
    "rights_told",
    metadata,
    Column("request_id", Name, primary_key=True),
    Column("message_id", Name, primary_key=True),
    Column("batch", Number, nullable=False),
)
"""The messages by which recipients were told of a request (GDPR Art. 19)."""

rights_corrections = Table(
    "rights_corrections",
    metadata,
    Column("event_id", Bytes, primary_key=True),  # of the observation that corrects
    Column("request_id", Name, nullable=False, index=True),
    Column("batch", Number, nullable=False),
    Column("trait", Name, nullable=False),
    Column("withdrawn", Flag, nullable=False),
    Column("actor", Name, nullable=False),
    Column("at", Instant, nullable=False),
)
