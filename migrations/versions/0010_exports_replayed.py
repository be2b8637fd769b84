"""What an export is proved and decided again by, and the replays that were made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "export_records",
        sa.Column("export_id", sa.Text(), nullable=False),
        sa.Column("taken_out", sa.LargeBinary(), nullable=False),
        sa.Column("causes", sa.LargeBinary(), nullable=True),
        sa.Column("record", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("export_id", name=op.f("pk_export_records")),
    )
    op.create_table(
        "export_replays",
        sa.Column("replay_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("export_id", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("report", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("replay_no", name=op.f("pk_export_replays")),
    )
    op.create_index(op.f("ix_export_replays_export_id"), "export_replays", ["export_id"])
