"""Sources and API keys."""

from __future__ import annotations

from sqlalchemy import Column, Table

from cdp.store import Bytes, Flag, Instant, Json, Name, Number, metadata

sources = Table(
    "sources",
    metadata,
    Column("source_id", Number, primary_key=True, autoincrement=False),
    Column("name", Name, nullable=False, unique=True),
    Column("kind", Name, nullable=False),
    Column("key_hash", Bytes, nullable=False, unique=True),
    Column("enabled", Flag, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("secret_version", Number),  # of the secret that signs user ids; NULL while there is none
    Column("links", Flag),  # whether it may have manage links made; NULL for no
    Column("default_region", Name),  # ISO 3166 country of numbers without a country code; NULL for none
    Column("events_per_second", Number),  # NULL for as many as the platform takes
    Column("burst", Number),  # events at once; NULL for those of one second
    Column("max_body_kib", Number),  # NULL for what the settings say, as of an event
    Column("max_event_kib", Number),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Number, primary_key=True, autoincrement=False),
    Column("name", Name, nullable=False, unique=True),
    Column("key_hash", Bytes, nullable=False, unique=True),
    Column("roles", Json, nullable=False),
    Column("purposes", Json, nullable=False),
    Column("destination", Name, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("made_by", Number),  # key_id; NULL for the operator's, and where nobody recorded it
)
