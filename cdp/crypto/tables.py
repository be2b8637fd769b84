"""The key database: its own schema and its own chain of migrations, never in the main database's backups.

A NULL in ``deks.wrapped`` or ``bucket_keys.wrapped`` marks a destroyed key: it is never made again. A
destroyed KEK has ``destroyed_at`` and an empty ``wrapped``.
"""

from __future__ import annotations

from sqlalchemy import Column, MetaData, Table

from cdp.store import Bytes, Instant, Name, Number

key_metadata = MetaData()

keks = Table(
    "keks",
    key_metadata,
    Column("version", Number, primary_key=True, autoincrement=False),
    Column("wrapped", Bytes, nullable=False),  # by the root
    Column("created_at", Instant, nullable=False),
    Column("commitment", Bytes),  # NULL: made by a version that kept none, written when next proven
    Column("retired_at", Instant),  # since then a newer version wraps what is made
    Column("worker", Number),  # which process re-wraps what lies under it,
    Column("worked_at", Instant),  # and when it last did; another may take over from one that ended
    Column("rewrapped_at", Instant),  # since then nothing lies under it
    Column("destroyed_at", Instant),
)

secrets = Table(
    "secrets",
    key_metadata,
    Column("name", Name, primary_key=True),
    Column("wrapped", Bytes, nullable=False),  # by the root
    Column("commitment", Bytes),
)

deks = Table(
    "deks",
    key_metadata,
    Column("identity_no", Number, primary_key=True, autoincrement=False),
    Column("domain", Name, primary_key=True),
    Column("dek_id", Bytes, nullable=False),
    Column("kek_version", Number, nullable=False),
    Column("wrapped", Bytes),
    Column("commitment", Bytes, nullable=False),
)

bucket_keys = Table(
    "bucket_keys",
    key_metadata,
    Column("bucket", Name, primary_key=True),
    Column("dek_id", Bytes, nullable=False),
    Column("kek_version", Number, nullable=False),
    Column("wrapped", Bytes),
    Column("commitment", Bytes, nullable=False),
)
