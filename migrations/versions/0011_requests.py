"""Requests of people: their steps, who works on them, and what came of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_REQUESTS = (
    ("identity_nos", sa.Text(), "[]"),
    ("submitted_at", sa.BigInteger(), "0"),
    ("regulation", sa.Text(), sa.text("''")),
    ("external_id", sa.Text(), sa.text("''")),
    ("purpose", sa.Text(), sa.text("''")),
    ("state", sa.Text(), "received"),
    ("state_at", sa.BigInteger(), "0"),
    ("step", sa.BigInteger(), "0"),
    ("reason", sa.Text(), sa.text("''")),
    ("result", sa.Text(), "{}"),
    ("begun", sa.Boolean(), sa.false()),
    ("held_until", sa.BigInteger(), "0"),
    ("acknowledge_by", sa.BigInteger(), "0"),
    ("extended", sa.Boolean(), sa.false()),
    ("waiting", sa.Boolean(), sa.false()),
)
_STATES = (("due_at", sa.BigInteger(), "0"), ("reason", sa.Text(), sa.text("''")))
_INDEXES = (("external_id",), ("asked",), ("state", "opened_at", "request_id"), ("state", "due_at"))


def upgrade() -> None:
    for table, columns in (("rights_requests", _REQUESTS), ("rights_states", _STATES)):
        for name, kind, default in columns:
            op.add_column(table, sa.Column(name, kind, nullable=False, server_default=default))
    op.add_column("rights_requests", sa.Column("asked", sa.LargeBinary(), nullable=True))
    for columns in _INDEXES:
        name = op.f(f"ix_rights_requests_{'_'.join(columns)}")
        op.create_index(name, "rights_requests", list(columns), unique=False)
    newest = (
        "FROM rights_states s WHERE s.request_id = rights_requests.request_id ORDER BY s.step DESC LIMIT 1"
    )
    op.execute(
        f"UPDATE rights_requests SET submitted_at = opened_at, identity_nos = '[' || identity_no || ']', "  # noqa: S608  # of this file
        f"state = (SELECT s.state {newest}), state_at = (SELECT s.at {newest}), "
        f"step = (SELECT s.step {newest})"
    )
    op.execute(
        "UPDATE rights_states SET due_at = "
        "(SELECT r.due_at FROM rights_requests r WHERE r.request_id = rights_states.request_id)"
    )
    op.create_table(
        "rights_proofs",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("proof_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "proof_no", name=op.f("pk_rights_proofs")),
    )
    op.create_table(
        "rights_told",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "message_id", name=op.f("pk_rights_told")),
    )
    op.create_table(
        "rights_corrections",
        sa.Column("event_id", sa.LargeBinary(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("trait", sa.Text(), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_rights_corrections")),
    )
    name = op.f("ix_rights_corrections_request_id")
    op.create_index(name, "rights_corrections", ["request_id"], unique=False)
