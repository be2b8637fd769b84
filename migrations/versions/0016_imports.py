"""How far each import of a file is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    zero = sa.text("0")
    op.create_table(
        "imports",
        sa.Column("import_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("mapping", sa.Text(), nullable=False),
        sa.Column("corrected", sa.Text(), nullable=True),
        sa.Column("at_row", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("row_count", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("left_out", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("outcomes", sa.Text(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("import_no", name=op.f("pk_imports")),
        sa.UniqueConstraint("source_id", "file", "key", name=op.f("uq_imports_source_id_file_key")),
    )
