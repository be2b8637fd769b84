"""Exports as decided and fetched.

No column holds personal data, and every set here holds identity_no, as it outlives its snapshot.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from cdp.store import Bytes, Flag, Instant, Json, Name, Number, metadata

UNSAID = '["unsaid"]'
"""What a row that does not say it counts as having read: nothing that may be read, so nobody is released."""

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
    Column("mode", Name, nullable=False, server_default="full"),
    Column("reads", Json, nullable=False, server_default=UNSAID),  # names of what the definition read
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

export_records = Table(
    "export_records",
    metadata,
    Column("export_id", Name, primary_key=True),
    Column("taken_out", Bytes, nullable=False),  # the leaves of D, as those of ``exports.manifest``
    Column("causes", Bytes),  # why each of D was taken out; NULL where nobody was, or it is not known
    Column("record", Bytes),  # what deciding again needs (``replay/record.py``); NULL: older than it
)
"""What an export is proved and decided again by; an export older than these may have no row."""

export_replays = Table(
    "export_replays",
    metadata,
    Column("replay_no", Number, primary_key=True, autoincrement=False),
    Column("export_id", Name, nullable=False, index=True),
    Column("batch", Number, nullable=False),
    Column("state", Name, nullable=False),  # running | done | failed | interrupted
    Column("actor", Name, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("report", Json),
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
    Column("settled", Flag),  # TRUE: what left of it stands in deliveries for good
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("audience_no", Number, primary_key=True, autoincrement=False),
    Column("destination", Name, nullable=False),
    Column("purpose", Name, nullable=False),
    Column("segment", Name, nullable=False),
    Column("inputs", Json, nullable=False),  # every category that its people were chosen by
    Column("fields", Json, nullable=False),  # every field that left of them
    Column("anchors", Bytes, nullable=False),  # a BitMap of identity_no: delivered, not recalled since
    Column("others", Bytes, nullable=False),  # a BitMap of further identities delivered of these people
    Column("anchor_of", Bytes, nullable=False),  # the anchor of each of them: 32-bit numbers, little endian
    Column("revision", Number, nullable=False),  # counts the changes of this row
    Column("next_seq", Number, nullable=False),  # of the feed
    Column("fed_export", Name),  # the last decision that the feed was brought up to
    Column("fed_members", Bytes),  # SHA-256 of the segment's members then
    Column("reads", Json, nullable=False, server_default=UNSAID),  # names of all that they were chosen by
    Index(None, "destination", "purpose", "segment", unique=True),
)
"""Who holds whom now; what was delivered when stands in the log and in ``export_fetches``."""

feed_rows = Table(
    "feed_rows",
    metadata,
    Column("audience_no", Number, primary_key=True, autoincrement=False),
    Column("anchor", Number, primary_key=True, autoincrement=False),
    Column("seq", Number, nullable=False),  # of its last change; a cursor is the seq read up to
    Column("added_seq", Number, nullable=False),
    Column("digest", Bytes),  # HMAC of the row as last delivered
    Column("digest_seq", Number, nullable=False),  # when that last became another one
    Column("removed", Name),  # NULL: it is there; else unlist | erase
    Column("ref", Bytes),  # of somebody erased: the profile_ref, sealed under the key of ``message_id``
    Column("message_id", Name),
    Index(None, "audience_no", "seq", unique=True),
    sqlite_with_rowid=False,
)
"""One row a person ever fed, at the place of its last change; adds and updates are rendered when read."""

destination_anchors = Table(
    "destination_anchors",
    metadata,
    Column("destination", Name, primary_key=True),
    Column("identities", Bytes, nullable=False),  # a BitMap of identity_no: who a profile_ref is made from
)
