"""Taking what was deleted out of a database's files, as far as the database does."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Engine

_PATIENCE = 1000  # milliseconds that readers have to end


def scrub(engine: Engine, tables: Iterable[str]) -> bool:
    """Take what was deleted from ``tables`` out of the files; False when it could not now.

    SQLite overwrites what it deletes (``secure_delete``), and its write-ahead log is emptied here once no
    reader needs it. PostgreSQL's dead rows are vacuumed; their bytes lie in its pages, and in its log, until
    it writes over them.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name != "sqlite":
            for table in tables:
                connection.exec_driver_sql(f"VACUUM {table}")
            return True
        (usual,) = connection.exec_driver_sql("PRAGMA busy_timeout").one()
        connection.exec_driver_sql(f"PRAGMA busy_timeout={_PATIENCE}")
        try:
            busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={usual}")
        return not busy
