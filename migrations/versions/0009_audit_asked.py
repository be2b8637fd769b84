"""Sealed details of audit entries, their search column ``segment``, and the index by which the log is asked.

The index is made from the entries by the program itself, a part at a time; what it does not cover yet is read
from the entries.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_SEGMENT = {
    "sqlite": "json_extract(CAST(entry AS TEXT), '$.object.segment')",
    "postgresql": "convert_from(entry, 'UTF8')::json -> 'object' ->> 'segment'",
}


def upgrade() -> None:
    op.add_column("audit_entries", sa.Column("segment", sa.Text(), nullable=True))
    op.add_column("audit_entries", sa.Column("detail_hashes", sa.LargeBinary(), nullable=True))
    segment = _SEGMENT[op.get_bind().dialect.name]
    named = "POSITION('\"segment\":\"' IN convert_from(entry, 'UTF8')) > 0"
    if op.get_bind().dialect.name == "sqlite":
        named = 'instr(CAST(entry AS TEXT), \'"segment":"\') > 0'
    op.execute(f"UPDATE audit_entries SET segment = {segment} WHERE {named}")  # noqa: S608  # both texts are ours
    for column in ("actor", "action", "purpose", "destination"):
        op.drop_index(op.f(f"ix_audit_entries_{column}_leaf_index"), table_name="audit_entries")
    op.create_table(
        "audit_details",
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("identity_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("detail", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("leaf_index", "identity_no", name=op.f("pk_audit_details")),
    )
    op.create_index(op.f("ix_audit_details_identity_no"), "audit_details", ["identity_no"], unique=False)
    op.create_table(
        "audit_spans",
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("width", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("start", name=op.f("pk_audit_spans")),
    )
    op.create_table(
        "audit_instants",
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("start", name=op.f("pk_audit_instants")),
    )
    op.create_table(
        "audit_postings",
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("members", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("field", "value", "start", name=op.f("pk_audit_postings")),
    )
    op.create_index(op.f("ix_audit_postings_start"), "audit_postings", ["start"], unique=False)
    op.create_table(
        "audit_days",
        sa.Column("day", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("people", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "day", "purpose", "destination", "action", "outcome", name=op.f("pk_audit_days")
        ),
    )
