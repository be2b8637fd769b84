"""How Alembic reaches the database and the tables.

``cdp.store.migrate`` hands its open transaction over; without one (``alembic revision``, while
developing) the database of the settings is used. The tables are those of every stage: whichever
package has a ``tables.py`` is imported, so that none can be forgotten. The key tables are not among
them: they live in a database of their own, with its own ``MetaData`` and its own chain in ``keys/``.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from alembic import context
from sqlalchemy import Connection

import cdp
from cdp import settings
from cdp.store import Store, metadata

for tables in sorted(Path(cdp.__file__).parent.glob("*/tables.py")):
    import_module(f"cdp.{tables.parent.name}.tables")


def run(connection: Connection) -> None:
    """Run what Alembic was asked to, on ``connection`` and in its transaction."""
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    store = Store(settings.load().database)
    with store.writing() as opened, opened.begin():
        run(opened)
    store.close()
