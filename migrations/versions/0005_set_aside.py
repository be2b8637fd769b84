"""The pairs that the rules keep apart, and what version 1 indexed, found without looking through all."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_links_set_aside",
        "links",
        ["low", "high"],
        sqlite_where=sa.text("accepted = 0"),
        postgresql_where=sa.text("NOT accepted"),
    )
    op.create_index(
        "ix_identifier_index_earlier",
        "identifier_index",
        ["identity_no"],
        sqlite_where=sa.text("version = 1"),
        postgresql_where=sa.text("version = 1"),
    )
