"""How much a source may send."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("events_per_second", "burst", "max_body_kib", "max_event_kib"):
        op.add_column("sources", sa.Column(name, sa.BigInteger(), nullable=True))
