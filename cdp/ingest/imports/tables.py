"""How far each import is, and what became of its rows. Nothing of the rows is here."""

from __future__ import annotations

from sqlalchemy import Column, Table, UniqueConstraint, text

from cdp.store import Instant, Json, Name, Number, metadata

ZERO = text("0")

imports = Table(
    "imports",
    metadata,
    Column("import_no", Number, primary_key=True, autoincrement=False),
    Column("source_id", Number, nullable=False),
    Column("file", Name, nullable=False),  # SHA-256 of the whole file, hex
    Column("key", Name, nullable=False),  # SHA-256 of the form and the mapping, hex
    Column("form", Name, nullable=False),  # csv | jsonl | parquet
    Column("mapping", Name, nullable=False),  # YAML; empty for none
    Column("corrected", Name),  # by which rows in quarantine are read when they are replayed
    Column("at_row", Number, nullable=False, server_default=ZERO),  # the last one that is done
    Column("row_count", Number, nullable=False, server_default=ZERO),
    Column("left_out", Number, nullable=False, server_default=ZERO),
    Column("outcomes", Json, nullable=False, server_default=text("'{}'")),  # what became of how many events
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    UniqueConstraint("source_id", "file", "key"),
)
