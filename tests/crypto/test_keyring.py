"""The key hierarchy in its own database."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, delete, select, update

from cdp.clock import FixedClock
from cdp.crypto import FileKeyProvider, Keyring, Place, open_provider, open_sealed, seal
from cdp.crypto import keys as keys_module
from cdp.crypto.tables import bucket_keys, deks, keks, secrets
from cdp.errors import ConfigurationError, KeyAccessError
from cdp.store import Store

CLOCK = FixedClock(0)
PREFIX = Place("test", "identifiers", "value").prefix()


class Vault(NamedTuple):
    """A key database with its key file."""

    store: Store
    provider: FileKeyProvider

    def keyring(self, workspace: str = "test") -> Keyring:
        """Open it as another process would: with nothing in memory."""
        return Keyring(self.store, self.provider, workspace, CLOCK)

    def change(self, work: Callable[[Connection], object]) -> None:
        with self.store.writing() as connection, connection.begin():
            work(connection)

    def destroy(self, number: int, domain: str = "person") -> None:
        self.change(
            lambda c: c.execute(
                update(deks).where(deks.c.identity_no == number, deks.c.domain == domain).values(wrapped=None)
            )
        )


@pytest.fixture
def vault(database_url: str, tmp_path: Path) -> Iterator[Vault]:
    store = Store(database_url)
    provider = FileKeyProvider.create(tmp_path / "root.key")
    Keyring.initialise(store, provider, "test", CLOCK)
    yield Vault(store, provider)
    store.close()


# -- the key file ----------------------------------------------------------------------------------


def test_a_key_file_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "root.key"
    FileKeyProvider.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        FileKeyProvider.create(path)
    assert path.read_bytes() == before


def test_a_missing_key_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    with pytest.raises(ConfigurationError, match="is missing; restore it") as caught:
        open_provider(f"file:{path}")
    assert str(path) in caught.value.message


@pytest.mark.parametrize("content", [b"", b"zz" * 32, b"00" * 31, b"00" * 33, b"\xff" * 64])
def test_a_key_file_without_a_key_is_refused_and_not_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "root.key"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="key file") as caught:
        open_provider(f"file:{path}")
    assert "zz" not in caught.value.message


@pytest.mark.parametrize("spec", ["", "file:", "root.key", "vault:", "awskms:", "gcpkms:x"])
def test_an_unknown_provider_is_refused(spec: str) -> None:
    with pytest.raises(ConfigurationError, match="CDP_KEYS"):
        open_provider(spec)


def test_a_wrong_key_file_is_named_with_what_to_do(vault: Vault, tmp_path: Path) -> None:
    wrong = FileKeyProvider.create(tmp_path / "wrong.key")
    with pytest.raises(KeyAccessError, match="put the right key file and key database back") as caught:
        Keyring(vault.store, wrong, "test", CLOCK)
    assert "wrong.key" in caught.value.message


def test_another_workspace_cannot_use_the_keys(vault: Vault) -> None:
    with pytest.raises(KeyAccessError):
        vault.keyring("other")


def test_an_empty_key_database_says_what_to_run(vault: Vault) -> None:
    vault.change(lambda c: c.execute(delete(keks)))
    with pytest.raises(ConfigurationError, match="cdp init"):
        vault.keyring()


def test_initialising_again_changes_nothing(vault: Vault) -> None:
    secret = vault.keyring().secret("index")
    Keyring.initialise(vault.store, vault.provider, "test", CLOCK)
    assert vault.keyring().secret("index") == secret


# -- named secrets ---------------------------------------------------------------------------------


def test_a_named_secret_is_made_once_and_wrapped(vault: Vault) -> None:
    vault.change(lambda c: c.execute(update(secrets).values(wrapped=b"", commitment=None)))
    with pytest.raises(KeyAccessError, match="cdp migrate"):
        vault.keyring().secret("index")
    threads = [
        threading.Thread(target=Keyring.complete, args=(vault.store, vault.provider, "test"))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = vault.keyring().secret("audit-signing")
    assert len(made) == 32
    assert vault.keyring().secret("index") != made
    Keyring.complete(vault.store, vault.provider, "test")
    assert vault.keyring().secret("audit-signing") == made
    with vault.store.reading() as connection:
        stored = connection.execute(select(secrets.c.wrapped)).scalars().all()
    assert not any(made in wrapped for wrapped in stored)


def test_a_secret_moved_to_another_name_does_not_open(vault: Vault) -> None:
    def swap(connection: Connection) -> None:
        row = connection.execute(select(secrets).where(secrets.c.name == "index")).one()
        other = update(secrets).where(secrets.c.name == "audit-signing")
        connection.execute(other.values(wrapped=row.wrapped, commitment=row.commitment))

    vault.change(swap)
    with pytest.raises(KeyAccessError):
        vault.keyring().secret("audit-signing")


# -- DEKs ------------------------------------------------------------------------------------------


def test_keys_are_made_once_and_found_by_every_process(vault: Vault) -> None:
    first, second = vault.keyring(), vault.keyring()
    first.create([1, 2])
    second.create([2, 3])
    mine, theirs = first.deks([1, 2, 3]), second.deks([1, 2, 3])
    assert {no: dek.key for no, dek in mine.items()} == {no: dek.key for no, dek in theirs.items()}
    assert len({dek.key for dek in mine.values()}) == 3
    assert first.deks([4]) == {}
    envelope = seal(mine[2], PREFIX, b"r", 2, b"value")
    assert open_sealed(theirs[2], PREFIX, b"r", 2, envelope) == b"value"


def test_the_two_domains_are_independent(vault: Vault) -> None:
    ring = vault.keyring()
    ring.create([1])
    assert ring.deks([1], "person")[1].key != ring.deks([1], "proof")[1].key
    assert ring.pseudonym_secrets([1])[1] != ring.proof_secrets([1])[1]
    vault.destroy(1, "person")
    again = vault.keyring()
    assert again.deks([1], "person") == {}
    assert again.pseudonym_secrets([1]) == {}
    assert again.proof_secrets([1]) == ring.proof_secrets([1])


def test_no_key_lies_in_clear(vault: Vault) -> None:
    ring = vault.keyring()
    ring.create([1])
    key = ring.deks([1])[1].key
    with vault.store.reading() as connection:
        for row in connection.execute(select(deks)):
            assert key not in row.wrapped
            assert key not in row.commitment


def test_a_destroyed_key_is_never_made_again(vault: Vault) -> None:
    vault.keyring().create([1, 2])
    vault.destroy(1)
    ring = vault.keyring()
    ring.create([1, 2])
    assert list(ring.deks([1, 2])) == [2]
    assert list(vault.keyring().deks([1, 2])) == [2]
    with vault.store.reading() as connection:
        query = select(deks.c.wrapped).where(deks.c.identity_no == 1, deks.c.domain == "person")
        assert connection.execute(query).scalar_one() is None


def _copy(row_from: tuple[int, str], row_to: tuple[int, str]) -> Callable[[Connection], object]:
    def work(connection: Connection) -> None:
        source = select(deks).where(deks.c.identity_no == row_from[0], deks.c.domain == row_from[1])
        row = connection.execute(source).one()
        connection.execute(
            update(deks)
            .where(deks.c.identity_no == row_to[0], deks.c.domain == row_to[1])
            .values(dek_id=row.dek_id, wrapped=row.wrapped, commitment=row.commitment)
        )

    return work


@pytest.mark.parametrize("target", [(2, "person"), (1, "proof")])
def test_a_key_moved_to_another_identity_or_domain_does_not_unwrap(
    vault: Vault, target: tuple[int, str]
) -> None:
    vault.keyring().create([1, 2])
    vault.change(_copy((1, "person"), target))
    with pytest.raises(KeyAccessError, match="altered or moved"):
        vault.keyring().deks([target[0]], "proof" if target[1] == "proof" else "person")


def _alter(column: str) -> Callable[[Connection], object]:
    def work(connection: Connection) -> None:
        row = connection.execute(select(deks).where(deks.c.domain == "person")).one()
        value = bytearray(getattr(row, column))
        value[-1] ^= 1
        connection.execute(update(deks).where(deks.c.domain == "person").values({column: bytes(value)}))

    return work


@pytest.mark.parametrize(
    ("column", "message"),
    [("wrapped", "altered or moved"), ("dek_id", "altered or moved"), ("commitment", "commitment")],
)
def test_an_altered_key_row_does_not_unwrap(vault: Vault, column: str, message: str) -> None:
    vault.keyring().create([1])
    vault.change(_alter(column))
    with pytest.raises(KeyAccessError, match=message):
        vault.keyring().deks([1])


def test_a_key_under_a_kek_that_died_is_said_to_be_gone(vault: Vault) -> None:
    vault.keyring().create([1])
    vault.change(lambda c: c.execute(update(deks).values(kek_version=9)))
    with pytest.raises(KeyAccessError, match="KEK version 9 is gone"):
        vault.keyring().deks([1])


# -- the cache -------------------------------------------------------------------------------------


def test_keys_in_memory_go_when_the_erasure_epoch_moves(vault: Vault) -> None:
    ring = vault.keyring()
    ring.create([1])
    vault.destroy(1)
    ring.observe_epoch(0)
    assert list(ring.deks([1])) == [1]  # still in memory: nobody said that anything was erased
    ring.observe_epoch(1)
    assert ring.deks([1]) == {}


def test_a_key_read_before_an_erasure_is_not_kept_after_it(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = vault.keyring()
    ring.create([1])
    ring.observe_epoch(1)  # nothing in memory
    read = ring._read

    def erased_meanwhile(*given: Any) -> Any:
        found = read(*given)
        vault.destroy(1)
        ring.observe_epoch(2)
        return found

    monkeypatch.setattr(ring, "_read", erased_meanwhile)
    ring.deks([1])
    monkeypatch.undo()
    assert ring.deks([1]) == {}


def test_keys_in_memory_go_after_a_minute(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("cdp.crypto.keys.time.monotonic", lambda: now)
    ring = vault.keyring()
    ring.create([1])
    vault.destroy(1)
    now += 59
    assert list(ring.deks([1])) == [1]
    now += 2
    assert ring.deks([1]) == {}


def test_keys_in_memory_are_bounded(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "_CACHE_KEYS", 5)
    vault.keyring().create(range(1, 31))
    ring = vault.keyring()
    for first in range(1, 31, 3):
        assert len(ring.deks(range(first, first + 3))) == 3
        assert len(ring._cache["person"]) <= 5


# -- buckets ---------------------------------------------------------------------------------------


def test_a_bucket_key_is_made_once_and_not_after_it_was_destroyed(vault: Vault) -> None:
    one = vault.keyring().bucket("quarantine/2026-01-31")
    assert vault.keyring().bucket("quarantine/2026-01-31").key == one.key
    assert vault.keyring().bucket("quarantine/2026-02-01").key != one.key
    vault.change(
        lambda c: c.execute(
            update(bucket_keys).where(bucket_keys.c.bucket == "quarantine/2026-01-31").values(wrapped=None)
        )
    )
    with pytest.raises(KeyAccessError, match="retention ended"):
        vault.keyring().bucket("quarantine/2026-01-31")


def test_a_bucket_key_renamed_does_not_unwrap(vault: Vault) -> None:
    vault.keyring().bucket("quarantine/2026-01-31")
    vault.change(lambda c: c.execute(update(bucket_keys).values(bucket="quarantine/2026-02-01")))
    with pytest.raises(KeyAccessError, match="altered or moved"):
        vault.keyring().bucket("quarantine/2026-02-01")
