"""The key database: its own schema, never in the main database or its backups."""

from __future__ import annotations

from sqlalchemy import Column, MetaData, Table

from cdp.store import Bytes, Instant, Name, Number

key_metadata = MetaData()

keks = Table(
    "keks",
    key_metadata,
    Column("version", Number, primary_key=True, autoincrement=False),
    Column("wrapped", Bytes, nullable=False),
    Column("created_at", Instant, nullable=False),
)

secrets = Table(
    "secrets",
    key_metadata,
    Column("name", Name, primary_key=True),
    Column("wrapped", Bytes, nullable=False),
)

deks = Table(
    "deks",
    key_metadata,
    Column("identity_no", Number, primary_key=True, autoincrement=False),
    Column("domain", Name, primary_key=True),
    Column("dek_id", Bytes, nullable=False),
    Column("kek_version", Number, nullable=False),
    Column("wrapped", Bytes),  # NULL marks a destroyed key: it is never made again
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
