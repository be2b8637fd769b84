"""Kinds of failed events by Snowplow's names, what finds them, and counts of what became of events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_KINDS = {"size_violation": "size_violation", "key_lost": "enrichment_failure", "unexpected": "generic_error"}
_OTHERS = "tracker_protocol_violation"


def upgrade() -> None:
    op.add_column("quarantine", sa.Column("reason", sa.Text(), server_default="unexpected", nullable=False))
    rows = sa.table("quarantine", sa.column("kind"), sa.column("reason"))
    kind = sa.case(_KINDS, value=rows.c.kind, else_=_OTHERS)
    op.execute(rows.update().values(reason=rows.c.kind, kind=kind))
    op.create_index(op.f("ix_quarantine_bucket"), "quarantine", ["bucket"])
    op.create_table(
        "quarantine_index",
        sa.Column("term", sa.LargeBinary(), nullable=False),
        sa.Column("quarantine_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("term", "quarantine_id", name=op.f("pk_quarantine_index")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_quarantine_index_quarantine_id"), "quarantine_index", ["quarantine_id"])
    # Nobody has the terms of what lies there: it is opened for everybody.
    index = sa.table("quarantine_index", sa.column("term"), sa.column("quarantine_id"))
    every = sa.select(sa.literal(b"", sa.LargeBinary()), sa.column("quarantine_id")).select_from(rows)
    op.execute(index.insert().from_select(["term", "quarantine_id"], every))
    op.create_table(
        "ingest_counts",
        sa.Column("day", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "source_id", "outcome", "batch", name=op.f("pk_ingest_counts")),
        sqlite_with_rowid=False,
    )
    # What waits was received and quarantined; of all else from before nothing was counted.
    for outcome in ("received", "quarantined"):
        op.execute(
            "INSERT INTO ingest_counts (batch, day, source_id, outcome, events) "  # noqa: S608  # names are ours
            f"SELECT 0, received_at / 86400000000, source_id, '{outcome}', count(*) FROM quarantine "
            "WHERE replayed_at IS NULL GROUP BY received_at / 86400000000, source_id"
        )
