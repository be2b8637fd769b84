"""An installation whose main database is of revision 0003 comes up with all that it holds, and goes on.

It is made by the platform of now under version 1 of the normaliser; then its rows are put into tables of
0003, as far as those have columns for them.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from alembic import command
from caller import Caller
from recovery_world import EMAIL, lost, number_of, running, say, state
from split_world import under_version_1
from sqlalchemy import MetaData

from cdp import app
from cdp.clock import SECOND, FixedClock
from cdp.errors import ConfigurationError
from cdp.settings import Settings
from cdp.store import Store, metadata, migrate

PEOPLE = 8
GERMANS = {"all": [{"trait": "country", "op": "eq", "value": "Germany"}]}


def identify(caller: Caller, number: int, message_id: str) -> None:
    traits = {"email": f"E{number}.x@People.example", "country": "Germany" if number % 2 else "France"}
    named = {"userId": f"u{number}", "anonymousId": f"d{number}"}
    caller.send({"type": "identify", "messageId": message_id, **named, "traits": traits})


def fill(caller: Caller, clock: FixedClock) -> None:
    for number in range(PEOPLE):
        clock.advance(SECOND)
        identify(caller, number, f"i{number}")
        say(caller, f"u{number}", number % 3 != 0, 1)
    caller.services.mirror.refresh()
    caller.api("PUT", "/segments/germans", {"name": "germans", "where": GERMANS})
    members = [{"type": "user_id", "value": name} for name in ("u3", "later")]
    caller.api("PUT", "/lists/robinson", {"kind": "black", "members": members}, purpose="segmentation")


def picture(caller: Caller) -> dict[str, Any]:
    """What is known of everybody: who is one with whom, what they said, who is in the segment."""
    services = caller.services
    services.mirror.refresh()
    with services.store.reading() as connection:
        everybody = services.identity.everybody(connection)
        traits = {no: services.profiles.traits(connection, no) for no in everybody}
        blocked = set(services.segments.blocked(connection))
    return {
        "profiles": everybody,
        "traits": {no: {name: one.value for name, one in held.items()} for no, held in traits.items()},
        "said": {number: state(caller, f"u{number}") for number in range(PEOPLE)},
        "germans": set(services.segments.evaluate("germans").bitmap),
        "blocked": blocked,
    }


def exported(caller: Caller, key: str) -> list[bytes]:
    asked = {"segment": "germans", "destination": "mailer", "purpose": EMAIL}
    export = caller.api("POST", "/exports", asked)
    headers = {"Authorization": f"Bearer {key}"}
    rows = caller.http.get(f"/api/v1/exports/{export['id']}/data", headers=headers).content
    return sorted(rows.splitlines())


def age(settings: Settings) -> None:
    """Put everything into a database of revision 0003."""
    with closing(Store(settings.database)) as store, store.reading() as connection:
        rows = {
            name: [dict(row._mapping) for row in connection.execute(table.select())]
            for name, table in metadata.tables.items()
        }
    lost(settings)
    with closing(Store(settings.database)) as store, store.writing() as connection, connection.begin():
        config = migrate._config(migrate.Chain.MAIN)
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        old = MetaData()
        old.reflect(connection)
        for table in old.sorted_tables:
            if table.name in rows:
                connection.execute(table.delete())
                columns = set(table.columns.keys()) & set(metadata.tables[table.name].columns.keys())
                held = [{name: row[name] for name in columns} for row in rows[table.name]]
                if held:
                    connection.execute(metadata.tables[table.name].insert(), held)


def test_it_is_upgraded_with_all_that_it_holds(
    settings: Settings, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as old, under_version_1(monkeypatch), running(settings, clock) as caller:
        old.setattr("cdp.audit.detail._said", lambda _: {})  # entries had no sealed detail then
        fill(caller, clock)
        before = picture(caller)
        key = caller.destination_key("mailer", EMAIL)
        rows = exported(caller, key)
        assert before["blocked"]
        assert rows
    age(settings)
    with pytest.raises(ConfigurationError, match="not current"):
        app.build(settings, clock)
    with closing(Store(settings.database)) as store:
        assert migrate.upgrade(store)[0] == "0004"
    with running(settings, clock, caller) as after:
        assert picture(after) == before
        passes = after.services.index_pass
        while passes.advance():
            pass
        assert not after.services.identity.indexes.passing
        assert picture(after) == before
        assert exported(after, key) == rows
        assert after.api("GET", "/audit/verify")["verified"]
        for number in range(PEOPLE):
            clock.advance(SECOND)
            identify(after, number, f"i{number}")  # was there before
            identify(after, number, f"n{number}")
        assert picture(after) == before
        after.send({"type": "identify", "messageId": "later", "userId": "later"})
        assert number_of(after, "later") in picture(after)["blocked"]
        assert after.api("GET", "/audit/verify")["verified"]
