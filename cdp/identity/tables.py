"""Identities, their blind indexes, link candidates, the identity→profile map, and passes over all of them."""

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
    Column("version", Number, nullable=False, server_default="1"),  # of the normaliser that made the value
    sqlite_with_rowid=False,
)

Index(
    "ix_identifier_index_earlier",
    identifier_index.c.identity_no,
    sqlite_where=identifier_index.c.version == 1,
    postgresql_where=identifier_index.c.version == 1,
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
    Column("origin", Name, nullable=False, server_default="event"),  # what told it (``model.Origin``)
    Index(None, "high"),
)

links = Table(
    "links",
    metadata,
    Column("low", Number, primary_key=True, autoincrement=False),
    Column("high", Number, primary_key=True, autoincrement=False),
    Column("batch", Number, primary_key=True, autoincrement=False, index=True),
    Column("accepted", Flag, nullable=False),
    Column("reason", Name, nullable=False),
    Column("event_id", Bytes, nullable=False),
    Column("rules_version", Number, nullable=False),
    Column("decided_at", Instant, nullable=False),
)
"""Append-only history of what was decided about each candidate pair; the newest row holds."""

Index(
    "ix_links_set_aside",
    links.c.low,
    links.c.high,
    sqlite_where=~links.c.accepted,
    postgresql_where=~links.c.accepted,
)

link_suppressions = Table(
    "link_suppressions",
    metadata,
    Column("low", Number, primary_key=True, autoincrement=False),
    Column("high", Number, primary_key=True, autoincrement=False),
    Column("batch", Number, primary_key=True, autoincrement=False, index=True),
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

identity_passes = Table(
    "identity_passes",
    metadata,
    Column("pass_no", Number, primary_key=True, autoincrement=False),
    Column("kind", Name, nullable=False),  # "rules": links decided anew; "index": identifiers indexed anew
    Column("target", Name, nullable=False),  # the version that it brings everything to
    Column("state", Name, nullable=False),  # running | paused | done | replaced
    Column("position", Number, nullable=False),  # the last component or identity that is done
    Column("upto", Number, nullable=False),  # the last one that there was when it began
    Column("total", Number, nullable=False),
    Column("done", Number, nullable=False),
    Column("merged", Number, nullable=False),  # profiles of before that came together
    Column("parted", Number, nullable=False),  # profiles of before that came apart
    Column("actor", Name, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
)
"""Work over everything that there is, in the background: where it stands, so that it goes on after a stop."""
