"""Who waited for a black list since a restore waits on after the upgrade, where all lists wait."""

from __future__ import annotations

from contextlib import closing

import msgspec
from alembic import command

from cdp.journal import Consent, Listed
from cdp.recovery.tables import pending_restraints
from cdp.segments.tables import list_waiting, lists
from cdp.store import Store, insert_many, migrate

NO = Consent(
    tag="aa" * 16,
    record_id=7,
    purpose="p",
    state="withdrawn",
    act=True,
    event_time=1,
    received_at=1,
    source_kind="server",
    source_id=1,
    verified=True,
)


def listed(tag: str, black_list: str) -> tuple[str, int, bytes]:
    line = Listed(tag=tag, black_list=black_list, on=True, at=5)
    return tag, int(black_list[:15], 16), msgspec.json.encode(line)


def test_whoever_waited_for_a_black_list_still_does(database_url: str) -> None:
    with closing(Store(database_url)) as store:
        with store.writing() as connection, connection.begin():
            config = migrate._config(migrate.Chain.MAIN)
            config.attributes["connection"] = connection
            command.upgrade(config, "0002")
            rows = [
                listed("aa" * 16, "12" * 16),
                listed("bb" * 16, "12" * 16),
                listed("bb" * 16, "34" * 16),
                (NO.tag, NO.record_id, msgspec.json.encode(NO)),
            ]
            insert_many(connection, pending_restraints, ("tag", "record_id", "line"), rows)
        migrate.upgrade(store)
        with store.reading() as connection:
            kept = [(row.tag, row.record_id) for row in connection.execute(pending_restraints.select())]
            assert kept == [(NO.tag, NO.record_id)]
            waiting = {(bytes(row.tag).hex(), row.name) for row in connection.execute(list_waiting.select())}
            assert waiting == {("aa" * 16, "restored_black_list"), ("bb" * 16, "restored_black_list")}
            (made,) = connection.execute(lists.select())
            assert (made.name, made.kind, made.category) == ("restored_black_list", "black", "user.unique_id")
