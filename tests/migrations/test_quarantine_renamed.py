"""What lay in quarantine before kinds had Snowplow's names is renamed, found by opening, and counted."""

from __future__ import annotations

from contextlib import closing

from alembic import command
from sqlalchemy import text

from cdp.clock import DAY
from cdp.store import Store, migrate

ROW = (
    "INSERT INTO quarantine "
    "(quarantine_id, batch, source_id, kind, cause, received_at, bucket, sealed, replayed_at) "
    "VALUES (:id, 1, 7, :kind, 'x', :at, 'quarantine/2026-01-01', :sealed, :replayed)"
)
KINDS = {
    "no_identifier": "tracker_protocol_violation",
    "size_violation": "size_violation",
    "key_lost": "enrichment_failure",
    "unexpected": "generic_error",
}


def test_rows_of_before(database_url: str) -> None:
    with closing(Store(database_url)) as store:
        with store.writing() as connection, connection.begin():
            config = migrate._config(migrate.Chain.MAIN)
            config.attributes["connection"] = connection
            command.upgrade(config, "0015")
            for number, kind in enumerate(KINDS):
                given = {"id": number, "kind": kind, "at": 3 * DAY + number, "sealed": b"s"}
                connection.execute(text(ROW), {**given, "replayed": 5 if number == 3 else None})
        migrate.upgrade(store)
        with store.reading() as connection:
            held = connection.execute(text("SELECT reason, kind FROM quarantine")).all()
            assert dict(map(tuple, held)) == KINDS
            found = connection.execute(text("SELECT quarantine_id, term FROM quarantine_index ORDER BY 1"))
            assert [(number, bytes(term)) for number, term in found] == [(n, b"") for n in range(4)]
            counts = "SELECT day, source_id, outcome, events FROM ingest_counts ORDER BY 3"
            counted = connection.execute(text(counts))
            assert [tuple(row) for row in counted] == [(3, 7, "quarantined", 3), (3, 7, "received", 3)]
