"""What a witness signed, and how it is with it."""

from __future__ import annotations

from sqlalchemy import Column, Table

from cdp.store import Instant, Name, Number, metadata

audit_cosignatures = Table(
    "audit_cosignatures",
    metadata,
    Column("size", Number, primary_key=True, autoincrement=False),  # of the checkpoint
    Column("witness", Name, primary_key=True),  # its verifier key
    Column("line", Name, nullable=False),  # the signature line, verified, without its newline
    Column("received_at", Instant, nullable=False),
)

audit_witnesses = Table(
    "audit_witnesses",
    metadata,
    Column("witness", Name, primary_key=True),  # its verifier key
    Column("size", Number, nullable=False),  # of the newest checkpoint that it holds, as far as we know
    Column("trouble", Name, nullable=False),  # a short code; empty while it countersigns
    Column("since", Instant, nullable=False),  # when that became so
    Column("failures", Number, nullable=False),  # in a row
    Column("next_at", Instant, nullable=False),  # not asked before; also the claim of whoever is asking
)
