"""The schema's version: one Alembic chain for SQLite and PostgreSQL alike.

The key database has a chain of its own, since it is backed up and restored apart from the main one.

Invariants: a chain goes forward only (a way back is a backup, because a downgrade that drops a column
drops facts). All pending revisions run in one transaction: a database is at the old version or at the
new one. A server whose database is not at the chain's head does not start.

The scripts lie in ``migrations/`` beside the package, because they import every stage's tables and
this package may import none.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from sqlalchemy import Connection

from cdp.errors import ConfigurationError
from cdp.store.engine import Store

_SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"


class Chain(Enum):
    """Which database a store is; the value is the folder of its revisions in ``migrations/``."""

    MAIN = "versions"
    KEYS = "keys"


def is_empty(store: Store) -> bool:
    """True when no migration was ever applied: a database that nobody initialised.

    :raises StoreError: the database cannot be read.
    """
    with store.reading() as connection:
        return MigrationContext.configure(connection).get_current_revision() is None


def pending(store: Store, chain: Chain = Chain.MAIN) -> list[str]:
    """Return the revisions that the database lacks, oldest first; empty means it is up to date.

    :raises ConfigurationError: the database was made by a newer version, or the scripts are missing.
    :raises StoreError: the database cannot be read.
    """
    with store.reading() as connection:
        return _pending(connection, chain)


def upgrade(
    store: Store, chain: Chain = Chain.MAIN, then: Callable[[Connection], object] | None = None
) -> list[str]:
    """Bring the database to the newest schema and return the revisions that were applied.

    :param then: called in the same transaction, after them.
    :raises ConfigurationError: the database was made by a newer version, or the scripts are missing.
    :raises StoreError: the database cannot be written; it stays as it was.
    """
    with store.writing() as connection, connection.begin():
        missing = _pending(connection, chain)
        if missing:
            config = _config(chain)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        if then is not None:
            then(connection)
        return missing


def _pending(connection: Connection, chain: Chain) -> list[str]:
    scripts = _scripts(chain)
    current = MigrationContext.configure(connection).get_current_revision()
    try:
        missing = [script.revision for script in scripts.iterate_revisions("head", current or "base")]
    except ResolutionError as error:
        raise ConfigurationError(
            "the database was made by a newer version of the platform; run that version, or restore a backup"
        ) from error
    return missing[::-1]


@cache
def _scripts(chain: Chain) -> ScriptDirectory:
    """Read the revisions of a chain, once: they are part of the program."""
    return ScriptDirectory.from_config(_config(chain))


def _config(chain: Chain) -> Config:
    if not (_SCRIPTS / "env.py").is_file():
        raise ConfigurationError(
            "the folder migrations/ is missing; run from a checkout or the container image"
        )
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("version_locations", str(_SCRIPTS / chain.value).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    return config
