"""OpenDSR: requests of controllers, callbacks to them, requests to recipients."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "opendsr_requests",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("subject_request_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("expected_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("callbacks", sa.LargeBinary(), nullable=True),
        sa.Column("urls", sa.BigInteger(), nullable=False),
        sa.Column("reported", sa.Text(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_opendsr_requests")),
    )
    op.create_index(
        op.f("ix_opendsr_requests_key_id_subject_request_id"),
        "opendsr_requests",
        ["key_id", "subject_request_id"],
        unique=True,
    )
    op.create_index(op.f("ix_opendsr_requests_reported"), "opendsr_requests", ["reported"], unique=False)
    op.create_table(
        "opendsr_callbacks",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("url_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "step", "url_no", name=op.f("pk_opendsr_callbacks")),
    )
    op.create_index(
        op.f("ix_opendsr_callbacks_state_next_attempt_at"),
        "opendsr_callbacks",
        ["state", "next_attempt_at"],
        unique=False,
    )
    op.create_table(
        "opendsr_children",
        sa.Column("child_id", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("state_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("expected_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("child_id", name=op.f("pk_opendsr_children")),
    )
    op.create_index(op.f("ix_opendsr_children_request_id"), "opendsr_children", ["request_id"], unique=False)
    op.create_index(
        op.f("ix_opendsr_children_state_next_attempt_at"),
        "opendsr_children",
        ["state", "next_attempt_at"],
        unique=False,
    )
