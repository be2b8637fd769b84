"""Whether this database is in order, and what the journal said about people it does not know.

``recovery`` has one row in a database in order. A backup is made without that row, so whatever comes out of
one is not served until its journal was replayed, however it was restored.
"""

from __future__ import annotations

from sqlalchemy import Column, Connection, Index, Table, insert

from cdp.store import Bytes, Instant, Json, Name, Number, metadata

recovery = Table(
    "recovery",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),  # always 1
    Column("ready", Number, nullable=False),  # 1, or 0 while a restore is under way
    Column("restored", Json, nullable=False),  # model.Restored
)

pending_restraints = Table(
    "pending_restraints",
    metadata,
    Column("tag", Name, primary_key=True),
    Column("record_id", Number, primary_key=True, autoincrement=False),  # below zero: of ``model.Awaited``
    Column("line", Bytes, nullable=False),  # journal.Consent, or model.Awaited
    sqlite_with_rowid=False,
)
"""Applied, and deleted, when an identity with the tag is made."""

tombstones = Table(
    "tombstones",
    metadata,
    Column("tag", Name, primary_key=True),
    Column("erased_at", Instant, nullable=False),
    Index(None, "erased_at"),
    sqlite_with_rowid=False,
)
"""Erased people who may not come back, until an explicit re-admission."""


erasures = Table(
    "erasures",
    metadata,
    Column("erasure_id", Name, primary_key=True),  # of the request, or ``restore/N``
    Column("batch", Number, nullable=False, unique=True),  # in which it bound: see ``erased_identities``
    Column("step", Name, nullable=False),  # model.Step
    Column("identities", Number, nullable=False),
    Column("bound_at", Instant, nullable=False),
    Column("tags", Json, nullable=False),  # the journal's, of their identifiers; none from "told" on
    Column("deleted", Json, nullable=False),  # what → how many rows
    Column("proof_until", Instant),  # what proves that processing was lawful is kept until then; NULL: gone
    Column("entry", Number),  # index of the log entry that says it is done
    Column("certificate", Bytes),  # secrets, under the key ``certificate/ID``; NULL: handed over, or expired
    Index(None, "step"),
)
"""Erasures and how far each has come; numbers and times only."""


def initialise(connection: Connection) -> None:
    """Mark a new database as one in order."""
    connection.execute(insert(recovery).values(id=1, ready=1, restored="{}"))
