"""Segments that are kept as new as the store, and who came and went."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    followed = sa.Column("followed", sa.Boolean(), nullable=False, server_default=sa.false())
    op.add_column("segment_members", followed)
    op.create_table(
        "segment_follow",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("as_of", sa.BigInteger(), nullable=False),
        sa.Column("computed_at", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segment_follow")),
    )
    op.create_table(
        "segment_changes",
        sa.Column("batch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("as_of", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("entered", sa.LargeBinary(), nullable=False),
        sa.Column("exited", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("batch", "name", name=op.f("pk_segment_changes")),
    )
