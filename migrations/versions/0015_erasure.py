"""Erasures, who was erased, and what is kept of them as proof."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erased_identities",
        sa.Column("identity_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("identity_no", name=op.f("pk_erased_identities")),
    )
    op.create_index(op.f("ix_erased_identities_epoch"), "erased_identities", ["epoch"])
    op.create_index(op.f("ix_erased_identities_batch"), "erased_identities", ["batch"])
    op.create_table(
        "erasures",
        sa.Column("erasure_id", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("identities", sa.BigInteger(), nullable=False),
        sa.Column("bound_at", sa.BigInteger(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("deleted", sa.Text(), nullable=False),
        sa.Column("proof_until", sa.BigInteger(), nullable=True),
        sa.Column("entry", sa.BigInteger(), nullable=True),
        sa.Column("certificate", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("erasure_id", name=op.f("pk_erasures")),
        sa.UniqueConstraint("batch", name=op.f("uq_erasures_batch")),
    )
    op.create_index(op.f("ix_erasures_step"), "erasures", ["step"])
    op.create_table(
        "consent_proofs",
        sa.Column("record_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("identity_no", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("record_id", name=op.f("pk_consent_proofs")),
    )
    op.create_index(op.f("ix_consent_proofs_identity_no"), "consent_proofs", ["identity_no"])
    # Whom earlier versions erased again after a restore: no identifier finds them any more.
    op.execute(
        "INSERT INTO erased_identities (identity_no, epoch, batch) "
        "SELECT identity_no, (SELECT erasure_epoch FROM log_head), batch FROM identities "
        "WHERE NOT EXISTS (SELECT 1 FROM identifier_index "
        "WHERE identifier_index.identity_no = identities.identity_no)"
    )
