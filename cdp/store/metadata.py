"""The shared table registry and the two tables of the commit order.

``log_head`` has exactly one row. Whoever holds its row lock may commit next; ``commit_no`` counts
committed batches without gaps, ``erasure_epoch`` counts erasures, ``policies`` counts changes of what the
policies in force say (activations, switches). ``batches`` maps the batch id that
rows carry to the ``commit_no`` it was given.
"""

from __future__ import annotations

from sqlalchemy import Column, MetaData, Table

from cdp.store.types import Instant, Name, Number

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

log_head = Table(
    "log_head",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),
    Column("commit_no", Number, nullable=False),
    Column("erasure_epoch", Number, nullable=False),
    Column("policies", Number, nullable=False, server_default="0"),
)

batches = Table(
    "batches",
    metadata,
    Column("commit_no", Number, primary_key=True, autoincrement=False),
    Column("batch", Number, nullable=False, unique=True),
    Column("committed_at", Instant, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("name", Name, primary_key=True),
    Column("next", Number, nullable=False),
)
