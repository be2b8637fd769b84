"""Kinds of failed events by Snowplow's names, and what was the kind as the reason."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0015"
branch_labels = None
depends_on = None

_KINDS = {"size_violation": "size_violation", "key_lost": "enrichment_failure", "unexpected": "generic_error"}
_OTHERS = "tracker_protocol_violation"


def upgrade() -> None:
    op.add_column("quarantine", sa.Column("reason", sa.Text(), server_default="unexpected", nullable=False))
    rows = sa.table("quarantine", sa.column("kind"), sa.column("reason"))
    kind = sa.case(_KINDS, value=rows.c.kind, else_=_OTHERS)
    op.execute(rows.update().values(reason=rows.c.kind, kind=kind))
