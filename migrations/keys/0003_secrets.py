"""A row for each named secret that has none: empty, to be filled once.

From here on a secret whose row is missing was lost, and is not made again. Rows of other names are
left: a destination that has one (``destination/NAME``) keeps its pseudonyms.
Forward only; runs on SQLite and PostgreSQL alike.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAMES = (
    "audit-signing",
    "counts",
    "destinations",
    "event-key",
    "feed-digests",
    "index",
    "journal",
    "links",
    "receipt-signing",
    "segment-ids",
    "user-id-signing",
    "webhooks",
)


def upgrade() -> None:
    secrets = sa.table("secrets", sa.column("name", sa.Text()), sa.column("wrapped", sa.LargeBinary()))
    connection = op.get_bind()
    held = set(connection.execute(sa.select(secrets.c.name)).scalars())
    missing = [{"name": name, "wrapped": b""} for name in NAMES if name not in held]
    if missing:
        connection.execute(secrets.insert(), missing)
