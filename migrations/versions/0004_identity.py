"""Where a candidate link came from; identifiers indexed anew; rules applied to what there is; matches.

Whose word a candidate of before is, nobody recorded: all of them count as told by an event, a steward's too.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    origin = sa.Column("origin", sa.Text(), nullable=False, server_default="event")
    op.add_column("link_candidates", origin)
    version = sa.Column("version", sa.BigInteger(), nullable=False, server_default="1")
    op.add_column("identifier_index", version)
    op.add_column("sources", sa.Column("default_region", sa.Text(), nullable=True))
    op.create_table(
        "identity_passes",
        sa.Column("pass_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("merged", sa.BigInteger(), nullable=False),
        sa.Column("parted", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pass_no", name=op.f("pk_identity_passes")),
    )
    op.create_table(
        "match_runs",
        sa.Column("run_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("model_no", sa.BigInteger(), nullable=True),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("excluded", sa.BigInteger(), nullable=False),
        sa.Column("pairs", sa.BigInteger(), nullable=False),
        sa.Column("linked", sa.BigInteger(), nullable=False),
        sa.Column("queued", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_no", name=op.f("pk_match_runs")),
    )
    op.create_table(
        "match_models",
        sa.Column("model_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("trained_at", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model_no", name=op.f("pk_match_models")),
    )
    op.create_table(
        "match_pairs",
        sa.Column("low", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("high", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("run_no", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("weight", sa.BigInteger(), nullable=False),
        sa.Column("waterfall", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("low", "high", name=op.f("pk_match_pairs")),
    )
    op.create_index(op.f("ix_match_pairs_state"), "match_pairs", ["state", "weight"], unique=False)
    op.create_index(op.f("ix_match_pairs_high"), "match_pairs", ["high"], unique=False)
    for table in ("links", "link_suppressions"):
        op.create_index(op.f(f"ix_{table}_batch"), table, ["batch"], unique=False)
