"""Segments, their members, and the white, grey and black lists."""

from __future__ import annotations

from sqlalchemy import Column, Table, false

from cdp.store import Bytes, Flag, Instant, Json, Name, Number, metadata

segments = Table(
    "segments",
    metadata,
    Column("name", Name, primary_key=True),
    Column("version", Number, primary_key=True, autoincrement=False),
    Column("definition", Json),  # NULL: deleted; a later version may follow
    Column("created_at", Instant, nullable=False),
    Column("created_by", Name, nullable=False),
    Column("batch", Number, nullable=False),
)
"""Append-only versions; the highest one holds."""

segment_members = Table(
    "segment_members",
    metadata,
    Column("name", Name, primary_key=True),
    Column("version", Number, primary_key=True, autoincrement=False),
    Column("as_of", Number, nullable=False),  # commit_no that the evaluation saw
    Column("computed_at", Instant, nullable=False),
    Column("count", Number, nullable=False),
    Column("members", Bytes, nullable=False),  # a serialised Roaring bitmap of profile numbers
    Column("followed", Flag, nullable=False, server_default=false()),  # right as of ``segment_follow``, too
)
"""The newest evaluation of each version that found others than the one before: derived, rebuildable."""

segment_follow = Table(
    "segment_follow",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),
    Column("as_of", Number, nullable=False),  # the commit that the members of followed segments hold up to
    Column("computed_at", Instant, nullable=False),
    Column("holder", Number, nullable=False),  # of the process that follows
)
"""How new the followed segments are: one row, once a process follows them."""

segment_changes = Table(
    "segment_changes",
    metadata,
    Column("batch", Number, primary_key=True, autoincrement=False),
    Column("name", Name, primary_key=True),
    Column("version", Number, nullable=False),
    Column("as_of", Number, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("entered", Bytes, nullable=False),  # serialised Roaring bitmaps of profile numbers as of then
    Column("exited", Bytes, nullable=False),
)
"""Who entered and who exited a followed segment: append-only, a row for each time that anybody did."""

tags = Table(
    "tags",
    metadata,
    Column("name", Name, primary_key=True),
    Column("version", Number, primary_key=True, autoincrement=False),
    Column("definition", Json),  # NULL: deleted; a later version may follow
    Column("created_at", Instant, nullable=False),
    Column("created_by", Name, nullable=False),
    Column("batch", Number, nullable=False),
)
"""Append-only versions of computed tags; the highest one holds. What a tag says is found when asked for."""

tag_thresholds = Table(
    "tag_thresholds",
    metadata,
    Column("batch", Number, primary_key=True, autoincrement=False),
    Column("name", Name, primary_key=True),
    Column("version", Number, nullable=False),
    Column("thresholds", Json, nullable=False),
    Column("people", Number, nullable=False),
    Column("as_of", Number, nullable=False),  # commit_no that was looked at
    Column("computed_at", Instant, nullable=False),
)
"""The thresholds of scores, a row for each rebuild: append-only; the last one of a version holds."""

lists = Table(
    "lists",
    metadata,
    Column("name", Name, primary_key=True),
    Column("kind", Name, nullable=False),  # white | grey | black
    Column("category", Name, nullable=False),
    Column("batch", Number, nullable=False),
)

list_entries = Table(
    "list_entries",
    metadata,
    Column("name", Name, primary_key=True),
    Column("identity_no", Number, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
"""Identities, mapped to profiles when a list is used, so that merges and splits cannot corrupt it."""

list_waiting = Table(
    "list_waiting",
    metadata,
    Column("tag", Bytes, primary_key=True),  # the journal's, of the identifier: no value
    Column("name", Name, primary_key=True),
    sqlite_with_rowid=False,
)
"""Who stands on a list and is not known yet; an entry, and no longer here, once their identity is made."""

counts_shown = Table(
    "counts_shown",
    metadata,
    Column("actor", Name, primary_key=True),
    Column("day", Number, primary_key=True, autoincrement=False),  # days since 1970 UTC
    Column("answer", Name, primary_key=True),
    sqlite_with_rowid=False,
)
"""What each key has had counted today; an answer is charged once, whoever gets it."""
