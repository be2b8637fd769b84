"""A lost or altered key is one clear error, and nothing is made anew in its place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection, Table, delete, select, text, update

from cdp import app
from cdp.clock import FixedClock
from cdp.crypto import FileKeyProvider, Keyring, Rotation
from cdp.crypto.keys import SECRETS
from cdp.crypto.tables import deks, keks, key_metadata, secrets
from cdp.errors import ConfigurationError, KeyAccessError
from cdp.settings import Settings
from cdp.store import Store
from cdp.store.migrate import Chain, upgrade


def change(settings: Settings, work: Callable[[Connection], object]) -> None:
    store = Store(settings.keys_database)
    with store.writing() as connection, connection.begin():
        work(connection)
    store.close()


def content(settings: Settings) -> list[list[tuple[object, ...]]]:
    store = Store(settings.keys_database)
    with store.reading() as connection:
        held = [[tuple(row) for row in connection.execute(select(table))] for table in (keks, secrets, deks)]
    store.close()
    return held


def test_a_missing_key_file_is_not_made_again(settings: Settings) -> None:
    key = settings.data_dir / "root.key"
    key.unlink()
    before = content(settings)
    for attempt in (app.build, app.initialise):
        with pytest.raises(ConfigurationError, match="restore it from its backup"):
            attempt(settings)
    assert not key.exists()
    assert content(settings) == before


def test_a_missing_key_file_beside_an_empty_main_database_is_not_made_again(
    settings: Settings, tmp_path: Path
) -> None:
    """The keys of a lost main database may still be wanted, for its backup."""
    shutil.rmtree(settings.journal_dir)
    empty = msgspec.structs.replace(settings, database_url=f"sqlite:///{tmp_path / 'empty.sqlite'}")
    (settings.data_dir / "root.key").unlink()
    with pytest.raises(ConfigurationError, match="restore it from its backup"):
        app.initialise(empty)


@pytest.mark.parametrize("how", ["no rows", "no tables"])
def test_missing_keks_beside_data_are_not_made_again(settings: Settings, how: str) -> None:
    change(settings, (lambda c: c.execute(delete(keks))) if how == "no rows" else key_metadata.drop_all)
    for attempt in (app.build, app.initialise):
        with pytest.raises(ConfigurationError, match="restore it from its backup"):
            attempt(settings)
    if how == "no rows":
        assert content(settings)[0] == []


def test_a_key_database_that_is_gone_is_not_made_again(settings: Settings, tmp_path: Path) -> None:
    moved = msgspec.structs.replace(settings, keys_database_url=f"sqlite:///{tmp_path / 'gone.sqlite'}")
    for attempt in (app.build, app.initialise):
        with pytest.raises(ConfigurationError, match="holds no keys while the main database holds data"):
            attempt(moved)


@pytest.mark.parametrize("column", ["wrapped", "commitment"])
@pytest.mark.parametrize("table", [keks, secrets], ids=["kek", "secret"])
def test_an_altered_row_is_named_and_left_alone(settings: Settings, table: Table, column: str) -> None:
    def alter(connection: Connection) -> None:
        for row in connection.execute(select(table)):
            value = bytearray(getattr(row, column))
            value[-1] ^= 1
            key = next(iter(table.primary_key))
            connection.execute(
                update(table).where(key == getattr(row, key.name)).values({column: bytes(value)})
            )

    change(settings, alter)
    before = content(settings)
    for attempt in (app.build, app.initialise):
        with pytest.raises(KeyAccessError, match=r"right key file|another key|other than the secret"):
            attempt(settings)
    assert content(settings) == before


@pytest.mark.parametrize("name", SECRETS)
def test_a_lost_secret_is_named_and_not_made_again(settings: Settings, name: str) -> None:
    """Under a new one everybody would be a stranger, every signature another's, every refusal unreadable."""
    change(settings, lambda c: c.execute(delete(secrets).where(secrets.c.name == name)))
    before = content(settings)
    for attempt in (app.build, app.initialise, app.establish):
        with pytest.raises(KeyAccessError, match=f"the secret {name} is lost.*from its backup"):
            attempt(settings)
    assert content(settings) == before


def test_the_chain_gives_every_secret_its_row_once(settings: Settings) -> None:
    """A secret that the code knows and no migration has made would be lost from the start."""
    store = Store(settings.keys_database)
    change(settings, lambda c: c.execute(delete(secrets)))
    change(settings, lambda c: c.execute(text("UPDATE alembic_version SET version_num = '0002'")))
    upgrade(store, Chain.KEYS)
    store.close()
    assert sorted(str(row[0]) for row in content(settings)[1]) == sorted(SECRETS)


def test_a_kek_of_another_workspace_is_not_taken(settings: Settings) -> None:
    with pytest.raises(KeyAccessError):
        app.build(msgspec.structs.replace(settings, workspace="other"))


def test_a_missing_newest_kek_is_noticed(settings: Settings) -> None:
    """Nothing may be wrapped under a retired version as though it were the newest."""
    store, clock = Store(settings.keys_database), FixedClock(0)
    provider = FileKeyProvider(settings.data_dir / "root.key")
    Rotation(Keyring(store, provider, settings.workspace, clock), lambda *_: None, clock, 30).begin("key:1")
    store.close()
    change(settings, lambda c: c.execute(delete(keks).where(keks.c.version == 2)))
    for attempt in (app.build, app.initialise):
        with pytest.raises(KeyAccessError, match="successor's row is missing"):
            attempt(settings)


def test_a_lost_old_kek_is_named_when_something_needs_it(settings: Settings) -> None:
    store, clock = Store(settings.keys_database), FixedClock(0)
    provider = FileKeyProvider(settings.data_dir / "root.key")
    ring = Keyring(store, provider, settings.workspace, clock)
    ring.create([1])
    Rotation(ring, lambda *_: None, clock, 30).begin("key:1")
    change(settings, lambda c: c.execute(delete(keks).where(keks.c.version == 1)))
    again = Keyring(store, provider, settings.workspace, clock)
    with pytest.raises(KeyAccessError, match="KEK version 1 is gone"):
        again.deks([1])
    again.create([1])  # the row is there: no second key for what the first one sealed
    with pytest.raises(KeyAccessError, match="KEK version 1 is gone"):
        again.deks([1])
    store.close()
