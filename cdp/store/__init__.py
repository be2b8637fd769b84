"""The database: engines, portable columns, dialect differences and the commit order.

Everything above imports from here: ``Store`` (open, read, snapshot), ``Committer`` and ``Batch``
(write), ``metadata`` and the column types for ``tables.py`` files.
"""

from sqlalchemy import Connection, Row

from cdp.store.bulk import insert_ignoring, insert_many, insert_new, update_many, upsert
from cdp.store.columns import Labelled, read_labelled, read_numbers
from cdp.store.commit import (
    INSTANT,
    Batch,
    Committer,
    EpochMovedError,
    LeafAppender,
    commit_at,
    commit_order,
    initialise,
    policies_version,
    read_head,
    retrying,
    since,
    until,
)
from cdp.store.copy import Progress, dump, require_vacant, restore, revision
from cdp.store.dialect import (
    among,
    among_bytes,
    chunks,
    lock_rows,
    lock_table,
    read_among,
    read_rows,
    share_rows,
)
from cdp.store.disk import flush, has_room, put_in_place
from cdp.store.engine import Store
from cdp.store.erased import Erased, bound_in, erased, erased_by, erased_since, forget_rows, told_at
from cdp.store.locks import wait_for_rows
from cdp.store.metadata import batches, metadata
from cdp.store.types import Bytes, Flag, Instant, Json, Name, Number

__all__ = [
    "INSTANT",
    "Batch",
    "Bytes",
    "Committer",
    "Connection",
    "EpochMovedError",
    "Erased",
    "Flag",
    "Instant",
    "Json",
    "Labelled",
    "LeafAppender",
    "Name",
    "Number",
    "Progress",
    "Row",
    "Store",
    "among",
    "among_bytes",
    "batches",
    "bound_in",
    "chunks",
    "commit_at",
    "commit_order",
    "dump",
    "erased",
    "erased_by",
    "erased_since",
    "flush",
    "forget_rows",
    "has_room",
    "initialise",
    "insert_ignoring",
    "insert_many",
    "insert_new",
    "lock_rows",
    "lock_table",
    "metadata",
    "policies_version",
    "put_in_place",
    "read_among",
    "read_head",
    "read_labelled",
    "read_numbers",
    "read_rows",
    "require_vacant",
    "restore",
    "retrying",
    "revision",
    "share_rows",
    "since",
    "told_at",
    "until",
    "update_many",
    "upsert",
    "wait_for_rows",
]
