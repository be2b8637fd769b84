"""The shared table registry, the tables of the commit order, and who was erased.

``log_head`` has exactly one row. Whoever holds its row lock may commit next; ``commit_no`` counts
committed batches without gaps, ``erasure_epoch`` counts erasures, ``policies`` counts changes of what the
policies in force say (activations, switches). ``batches`` maps the batch id that
rows carry to the ``commit_no`` it was given. ``erased_identities`` names whom an erasure bound: every stage
that keeps numbers of people asks it, and none infers it from what is missing.
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

erased_identities = Table(
    "erased_identities",
    metadata,
    Column("identity_no", Number, primary_key=True, autoincrement=False),
    Column("epoch", Number, nullable=False, index=True),  # at which it was told of last
    Column("batch", Number, nullable=False, index=True),  # in which it bound
)
"""Numbers alone, of people of whom nothing else is left; never handed out again, so never deleted."""
