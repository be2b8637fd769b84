"""The database: engines, portable columns, dialect differences and the commit order.

Everything above imports from here: ``Store`` (open, read, snapshot), ``Committer`` and ``Batch``
(write), ``metadata`` and the column types for ``tables.py`` files.
"""

from sqlalchemy import Connection, Row

from cdp.store.commit import (
    Batch,
    Committer,
    EpochMovedError,
    LeafAppender,
    commits_since,
    initialise,
    read_head,
    retrying,
)
from cdp.store.dialect import among, chunks, insert_ignoring, insert_many, insert_new, lock_rows, upsert
from cdp.store.engine import Store
from cdp.store.metadata import batches, metadata
from cdp.store.types import Bytes, Flag, Instant, Json, Name, Number

__all__ = [
    "Batch",
    "Bytes",
    "Committer",
    "Connection",
    "EpochMovedError",
    "Flag",
    "Instant",
    "Json",
    "LeafAppender",
    "Name",
    "Number",
    "Row",
    "Store",
    "among",
    "batches",
    "chunks",
    "commits_since",
    "initialise",
    "insert_ignoring",
    "insert_many",
    "insert_new",
    "lock_rows",
    "metadata",
    "read_head",
    "retrying",
    "upsert",
]
