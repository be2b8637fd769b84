"""OpenDSR both ways: what controllers asked of us, what we tell them, and what we asked of recipients.

No column holds anything personal in clear: addresses to call back and references of people are sealed, under
a bucket key that is destroyed when they are not needed any more.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from cdp.store import Bytes, Instant, Name, Number, metadata

opendsr_requests = Table(
    "opendsr_requests",
    metadata,
    Column("request_id", Name, primary_key=True),
    Column("batch", Number, nullable=False),
    Column("key_id", Number, nullable=False),  # the controller: nobody else sees the request
    Column("subject_request_id", Name, nullable=False),
    Column("kind", Name, nullable=False),
    Column("digest", Bytes, nullable=False),  # keyed, of the body: the same one is answered the same
    Column("received_at", Instant, nullable=False),
    Column("expected_at", Instant, nullable=False),  # as it was answered first
    Column("due_at", Instant, nullable=False),  # of the request then: an extension moves both
    Column("callbacks", Bytes),  # the URLs, sealed under ``opendsr/REQUEST``; NULL: none, or done with
    Column("urls", Number, nullable=False),  # how many
    Column("reported", Name, nullable=False),  # the status that was told last
    Column("step", Number, nullable=False),  # how often it changed
    Index(None, "key_id", "subject_request_id", unique=True),
    Index(None, "reported"),
)

opendsr_callbacks = Table(
    "opendsr_callbacks",
    metadata,
    Column("request_id", Name, primary_key=True),
    Column("step", Number, primary_key=True, autoincrement=False),
    Column("url_no", Number, primary_key=True, autoincrement=False),
    Column("batch", Number, nullable=False),
    Column("status", Name, nullable=False),
    Column("state", Name, nullable=False),  # queued | sent | superseded | failed
    Column("created_at", Instant, nullable=False),
    Column("attempts", Number, nullable=False),
    Column("next_attempt_at", Instant, nullable=False),
    Column("last_error", Name, nullable=False),
    Index(None, "state", "next_attempt_at"),
)

opendsr_children = Table(
    "opendsr_children",
    metadata,
    Column("child_id", Name, primary_key=True),  # the subject_request_id that the recipient knows
    Column("batch", Number, nullable=False),
    Column("request_id", Name, nullable=False, index=True),
    Column("destination", Name, nullable=False),
    Column("payload", Bytes),  # the body, sealed under ``opendsr/CHILD``; NULL: taken, or done with
    Column("state", Name, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),  # not settled by then, it is late
    Column("state_at", Instant, nullable=False),
    Column("attempts", Number, nullable=False),
    Column("next_attempt_at", Instant),  # NULL: not to be sent yet, or not any more
    Column("last_error", Name, nullable=False),
    Column("expected_at", Instant),  # by when the recipient wants to be done
    Index(None, "state", "next_attempt_at"),
)
