"""What one process holds at a time where several write: names (PostgreSQL's advisory locks), and rows."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select, text

from cdp.store import dialect


def hold(connection: Connection, name: str) -> bool:
    """Take a name until the transaction ends, also by the end of its process; False when it is taken."""
    return bool(connection.execute(select(func.pg_try_advisory_xact_lock(_key(name)))).scalar_one())


def is_held(connection: Connection, name: str) -> bool:
    """Return whether a transaction of anybody has taken a name."""
    locks = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
        "WHERE datname = current_database() AND locktype = 'advisory' AND objsubid = 1 AND granted "
        "AND classid = :high AND objid = :low"
    )
    high, low = divmod(_key(name) % 2**64, 2**32)
    return bool(connection.execute(locks, {"high": high, "low": low}).scalar_one())


def wait_for_rows(connection: Connection, query: Select[Any], order: ColumnElement[Any]) -> None:
    """Lock the rows that ``query`` finds, one after the other by ``order``, and read none of them.

    SQLite: its writer is alone.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(dialect.lock_rows(query.order_by(order))).close()


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
