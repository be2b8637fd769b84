"""What earlier versions counted as undeclared is still reported as that after the upgrade."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from alembic import command

from cdp import policy
from cdp.clock import SystemClock
from cdp.ingest import DataCatalogue
from cdp.ingest.tables import undeclared_fields
from cdp.store import Committer, Store, insert_many, migrate

POLICIES = Path(__file__).parents[2] / "policies"


def test_undeclared_fields_are_still_known(database_url: str) -> None:
    columns = ("source_id", "part", "name", "type", "seen", "last_seen_at")
    with closing(Store(database_url)) as store:
        with store.writing() as connection, connection.begin():
            config = migrate._config(migrate.Chain.MAIN)
            config.attributes["connection"] = connection
            command.upgrade(config, "0015")
            rows = [
                (7, "traits", "shoe_size", "number", 3, 1_000),
                (8, "traits", "shoe_size", "string", 1, 2_000),
            ]
            insert_many(connection, undeclared_fields, columns, rows)
        migrate.upgrade(store)
        committer = Committer(store, lambda *_: None, SystemClock())  # type: ignore[arg-type]  # nothing is written
        catalogue = DataCatalogue(committer, policy.load(POLICIES).fields, SystemClock())
        (found,) = catalogue.undeclared()
        assert (found.part, found.name, found.types) == ("traits", "shoe_size", {"number": 3, "string": 1})
        assert (found.sources, found.last_seen_at) == ((7, 8), 2_000)
        assert catalogue.of(7) == []  # of which event they were nobody counted
