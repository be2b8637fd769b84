"""Fresh databases and platforms to measure on, and what they weigh."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from cdp import app
from cdp.app import Platform
from cdp.settings import Settings


@contextmanager
def fresh_databases(store: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the URLs of an empty main and an empty key database; PostgreSQL's are dropped again.

    PostgreSQL is the server of ``CDP_TEST_POSTGRES_URL``.
    """
    if store == "sqlite":
        yield f"sqlite:///{folder / 'cdp.sqlite'}", f"sqlite:///{folder / 'keys.sqlite'}"
        return
    server = make_url(os.environ["CDP_TEST_POSTGRES_URL"]).set(drivername="postgresql+psycopg")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    names = [f"cdp_bench_{secrets.token_hex(4)}" for _ in range(2)]
    with engine.connect() as connection:
        for name in names:
            connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        main, keys = (server.set(database=name).render_as_string(hide_password=False) for name in names)
        yield main, keys
    finally:
        with engine.connect() as connection:
            for name in names:
                connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


@contextmanager
def fresh_platform(store: str) -> Iterator[Platform]:
    """Yield a platform on a fresh data directory, with the garbage collector as the server has it."""
    with tempfile.TemporaryDirectory(prefix="cdp-bench-") as name:
        folder = Path(name)
        with fresh_databases(store, folder) as (database, keys):
            settings = Settings(data_dir=folder, database_url=database, keys_database_url=keys)
            app.initialise(settings)
            platform = app.build(settings)
            with app.calm_collector():
                try:
                    yield platform
                finally:
                    platform.writer.stop()
                    platform.close()


def size_of(url: str) -> int:
    """Return the bytes of a database on disk, write-ahead log of SQLite included."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(str(parsed.database))
        return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    engine = create_engine(url)
    with engine.connect() as connection:
        size = int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
    engine.dispose()
    return size
