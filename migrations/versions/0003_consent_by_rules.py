"""States of consent are kept by what they were derived by; they are derived anew at the next start.

The new tables have other names, so that an older version that runs on fails and disturbs nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("consent_states")
    op.drop_table("consent_derivation")
    op.create_table(
        "consent_projections",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=True),
        sa.Column("reached", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_consent_projections")),
    )
    op.create_table(
        "consent_standings",
        sa.Column("projection", sa.Text(), nullable=False),
        sa.Column("profile_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("granted_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("notice_current", sa.Boolean(), nullable=False),
        sa.Column("recipients", sa.Text(), nullable=False),
        sa.Column("record_id", sa.BigInteger(), nullable=True),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("named", sa.Text(), nullable=False),
        sa.Column("notice_given", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("projection", "profile_no", name=op.f("pk_consent_standings")),
        sqlite_with_rowid=False,
    )
    for column in ("batch", "profile_no"):
        op.create_index(op.f(f"ix_consent_standings_{column}"), "consent_standings", [column], unique=False)
