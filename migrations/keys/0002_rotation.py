"""The life of a KEK version, and commitments beside everything that the root wraps.

A commitment that is still NULL is written when the key is next opened and something that it wraps has
proven it. Forward only; runs on SQLite and PostgreSQL alike.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("keks", sa.Column("commitment", sa.LargeBinary(), nullable=True))
    op.add_column("keks", sa.Column("retired_at", sa.BigInteger(), nullable=True))
    op.add_column("keks", sa.Column("worker", sa.BigInteger(), nullable=True))
    op.add_column("keks", sa.Column("worked_at", sa.BigInteger(), nullable=True))
    op.add_column("keks", sa.Column("rewrapped_at", sa.BigInteger(), nullable=True))
    op.add_column("keks", sa.Column("destroyed_at", sa.BigInteger(), nullable=True))
    op.add_column("secrets", sa.Column("commitment", sa.LargeBinary(), nullable=True))
