"""The key database's own chain: from the version that kept no record of it, on both databases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    Table,
    Text,
    select,
    text,
    update,
)

from cdp import app
from cdp.clock import FixedClock
from cdp.crypto import FileKeyProvider, Keyring, pae
from cdp.crypto.tables import deks, keks, key_metadata, secrets
from cdp.errors import ConfigurationError, KeyAccessError
from cdp.settings import Settings
from cdp.store import Store
from cdp.store.migrate import Chain, pending, upgrade

CLOCK = FixedClock(0)
first = MetaData()  # as the first version made it
FIRST = [
    Table(
        "keks",
        first,
        Column("version", BigInteger, primary_key=True, autoincrement=False),
        Column("wrapped", LargeBinary, nullable=False),
        Column("created_at", BigInteger, nullable=False),
    ),
    Table(
        "secrets",
        first,
        Column("name", Text, primary_key=True),
        Column("wrapped", LargeBinary, nullable=False),
    ),
    *(
        Table(
            name,
            first,
            *key,
            Column("dek_id", LargeBinary, nullable=False),
            Column("kek_version", BigInteger, nullable=False),
            Column("wrapped", LargeBinary),
            Column("commitment", LargeBinary, nullable=False),
        )
        for name, key in {
            "deks": (
                Column("identity_no", BigInteger, primary_key=True, autoincrement=False),
                Column("domain", Text, primary_key=True),
            ),
            "bucket_keys": (Column("bucket", Text, primary_key=True),),
        }.items()
    ),
]


class Old(NamedTuple):
    """A key database of the first version, with what it held."""

    store: Store
    provider: FileKeyProvider
    keys: dict[int, bytes]
    root_of_index: bytes

    def open(self) -> Keyring:
        return Keyring(self.store, self.provider, "test", CLOCK)


def go_back(connection: Connection) -> None:
    """Turn a key database into one of the first version, rows included."""
    held = {
        table: [
            {column.name: getattr(row, column.name) for column in table.c}
            for row in connection.execute(select(key_metadata.tables[table.name]))
        ]
        for table in FIRST
    }
    key_metadata.drop_all(connection)
    connection.execute(text("DROP TABLE alembic_version"))
    first.create_all(connection)
    for table, rows in held.items():
        if rows:
            connection.execute(table.insert(), rows)


@pytest.fixture
def old(database_url: str, tmp_path: Path) -> Iterator[Old]:
    store, provider = Store(database_url), FileKeyProvider.create(tmp_path / "root.key")
    Keyring.initialise(store, provider, "test", CLOCK)
    ring = Keyring(store, provider, "test", CLOCK)
    ring.create([1, 2])
    keys = {no: dek.key for no, dek in ring.deks([1, 2]).items()}
    index = ring.secret("index")
    with store.writing() as connection, connection.begin():
        go_back(connection)
    yield Old(store, provider, keys, index)
    store.close()


def test_a_database_without_a_record_of_its_schema_is_brought_up_to_date(old: Old) -> None:
    assert Keyring.exists(old.store)
    assert pending(old.store, Chain.KEYS) == ["0001", "0002", "0003"]
    assert upgrade(old.store, Chain.KEYS) == ["0001", "0002", "0003"]
    assert pending(old.store, Chain.KEYS) == []
    ring = old.open()
    assert {no: dek.key for no, dek in ring.deks([1, 2]).items()} == old.keys
    assert ring.secret("index") == old.root_of_index
    with old.store.reading() as connection:  # what had no commitment has one now that it was opened
        assert len(connection.execute(select(keks.c.commitment)).scalar_one()) == 16
        index = select(secrets.c.commitment).where(secrets.c.name == "index")
        assert len(connection.execute(index).scalar_one()) == 16


def test_initialising_it_changes_no_key(old: Old) -> None:
    Keyring.initialise(old.store, old.provider, "test", CLOCK)
    assert {no: dek.key for no, dek in old.open().deks([1, 2]).items()} == old.keys


def test_destinations_of_the_first_version_keep_their_pseudonyms(old: Old) -> None:
    """What was delivered is recalled under the name that the destination saw."""
    made, name = os.urandom(32), "destination/mailer"
    wrapped = old.provider.wrap(made, pae(b"cdp/secret/v1", b"test", name.encode()))
    with old.store.writing() as connection, connection.begin():
        connection.execute(FIRST[1].insert(), [{"name": name, "wrapped": wrapped}])
    Keyring.initialise(old.store, old.provider, "test", CLOCK)
    ring = old.open()
    ring.unlock()
    assert ring.destination_key("mailer") == made
    assert ring.destination_key("adnet") == old.open().destination_key("adnet") != made
    with old.store.writing() as connection, connection.begin():
        connection.execute(update(secrets).where(secrets.c.name == name).values(wrapped=b""))
    with pytest.raises(KeyAccessError, match="destination/mailer"):  # nothing takes its place
        old.open().unlock()


def test_a_kek_without_a_commitment_has_to_open_something_first(old: Old) -> None:
    upgrade(old.store, Chain.KEYS)
    with old.store.writing() as connection, connection.begin():
        connection.execute(update(deks).values(wrapped=bytes(60)))
    with pytest.raises(KeyAccessError, match="altered or moved"):
        old.open()
    with old.store.reading() as connection:
        assert connection.execute(select(keks.c.commitment)).scalar_one() is None


def test_the_chain_makes_what_the_code_declares(database_url: str) -> None:
    store = Store(database_url)
    assert not Keyring.exists(store)
    upgrade(store, Chain.KEYS)
    assert not Keyring.exists(store)
    with store.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), key_metadata) == []
    store.close()


def test_a_server_refuses_a_stale_and_a_newer_key_database(settings: Settings) -> None:
    store = Store(settings.keys_database)

    def at(version: str) -> None:
        with store.writing() as connection, connection.begin():
            connection.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": version})

    at("0001")
    with pytest.raises(ConfigurationError, match="cdp migrate"):
        app.build(settings)
    at("from-the-future")
    with pytest.raises(ConfigurationError, match="newer version"):
        app.build(settings)
    at("0003")
    app.build(settings).close()
    store.close()


def test_an_installation_of_the_first_version_starts_after_init(settings: Settings) -> None:
    store = Store(settings.keys_database)
    with store.writing() as connection, connection.begin():
        go_back(connection)
    with pytest.raises(ConfigurationError, match="cdp migrate"):
        app.build(settings)
    assert app.initialise(settings) is False
    app.build(settings).close()
    store.close()


def test_the_two_chains_share_no_table(tmp_path: Path) -> None:
    names: list[set[Any]] = []
    for chain in Chain:
        store = Store(f"sqlite:///{tmp_path / chain.value}")
        upgrade(store, chain)
        with store.reading() as connection:
            names.append({row.name for row in connection.execute(text("SELECT name FROM sqlite_master"))})
        store.close()
    assert {name for name in names[0] & names[1] if "alembic" not in name} == set()


def test_one_database_cannot_be_both(settings: Settings) -> None:
    same = msgspec.structs.replace(settings, keys_database_url=settings.database)
    for attempt in (app.initialise, app.build):
        with pytest.raises(ConfigurationError, match="of its own"):
            attempt(same)
