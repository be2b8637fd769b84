"""Moving the root: file, Vault and AWS KMS in every direction; killed anywhere; lied to; beside others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from key_servers import KeyServer, KmsServer, VaultServer, environment
from sqlalchemy import insert, select, update

from cdp.clock import DAY, FixedClock
from cdp.crypto import Keyring, Rotation, lies_under, open_provider, open_target, prepare
from cdp.crypto.kek import commitment, secret_context
from cdp.crypto.keys import SECRETS
from cdp.crypto.remote import Patience
from cdp.crypto.tables import keks, secrets
from cdp.errors import ConfigurationError, ConflictError, KeyAccessError
from cdp.store import Store

HASTE = Patience(total_s=0.6, attempt_s=0.2, pause_s=0.02)


class World(NamedTuple):
    """A key database under a root in a file, and roots to move it to."""

    store: Store
    url: str
    clock: FixedClock
    specs: dict[str, str]
    servers: dict[str, KeyServer]

    def keyring(self, kind: str = "file") -> Keyring:
        """Open it under a root as another process would: with nothing in memory."""
        return Keyring(self.store, open_provider(self.specs[kind]), "test", self.clock)

    def move(self, old: str, new: str) -> None:
        prepared = prepare(self.keyring(old), open_target(self.specs[new]), open_provider(self.specs[new]))
        prepared.put_in_place()

    def opens_under(self) -> set[str]:
        """Return the roots under which everything opens."""
        return {
            kind
            for kind, spec in self.specs.items()
            if (not spec.startswith("file:") or Path(spec[5:]).exists())
            and lies_under(self.store, open_provider(spec), "test")
        }

    def rows(self) -> list[tuple[object, ...]]:
        with self.store.reading() as connection:
            return [tuple(row) for table in (keks, secrets) for row in connection.execute(select(table))]

    def rotation(self, ring: Keyring) -> Rotation:
        return Rotation(ring, lambda *_: None, self.clock, 30)


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    store, clock = Store(database_url), FixedClock(1_000 * DAY)
    specs = {"file": f"file:{tmp_path / 'root.key'}", "other": f"file:{tmp_path / 'other' / 'root.key'}"}
    Keyring.initialise(store, open_target(specs["file"]), "test", clock)
    yield World(store, database_url, clock, specs, {})
    store.close()


@pytest.fixture
def services(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The world with Vault and KMS beside the files."""
    environment(monkeypatch)
    pytest.importorskip("hvac", reason="pip install 'cdp[vault]'")
    pytest.importorskip("boto3", reason="pip install 'cdp[aws]'")
    vault, kms = VaultServer(), KmsServer()
    for kind in ("vault", "awskms"):
        monkeypatch.setattr(f"cdp.crypto.{kind}.Patience", lambda: HASTE)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{kms.port}")
    world.specs.update(vault=f"vault:http://127.0.0.1:{vault.port}/transit/cdp", awskms="awskms:alias/cdp")
    world.servers.update(vault=vault, awskms=kms)
    yield world
    vault.close()
    kms.close()


def test_from_a_file_to_vault_to_kms_and_back(services: World) -> None:
    """Every KEK version, retired ones too, every secret, a destination's of version 0.1 too; all the same."""
    ring = services.keyring()
    ring.create([1])
    services.rotation(ring).begin("key:1")
    ring.create([2])
    services.rotation(ring).advance()
    made = ring.provider.wrap(b"m" * 32, secret_context("test", "destination/mailer"))
    with services.store.writing() as connection, connection.begin():
        row = {"name": "destination/mailer", "wrapped": made, "commitment": commitment(b"m" * 32)}
        connection.execute(insert(secrets).values(row))
    held = {name: ring.secret(name) for name in SECRETS}
    opened = {no: dek.key for no, dek in ring.deks([1, 2]).items()}
    for old, new in pairwise(["file", "vault", "awskms", "other", "file"]):
        services.move(old, new)
        assert services.opens_under() == {new}
        moved = services.keyring(new)
        assert {name: moved.secret(name) for name in SECRETS} == held
        assert moved.destination_key("mailer") == b"m" * 32
        assert {no: dek.key for no, dek in moved.deks([1, 2]).items()} == opened
        with pytest.raises(KeyAccessError):
            services.keyring(old)
    assert services.rotation(services.keyring()).begin("key:1") == 3


def test_a_key_file_is_made_for_its_owner_and_an_old_one_is_used(world: World) -> None:
    path = Path(world.specs["other"][5:])
    open_target(world.specs["other"])
    assert path.stat().st_mode & 0o777 == 0o600
    held = path.read_text(encoding="ascii")
    world.move("file", "other")
    assert path.read_text(encoding="ascii") == held
    path.write_text("", encoding="ascii")
    with pytest.raises(ConfigurationError, match="32 bytes"):
        open_target(world.specs["other"])
    with pytest.raises(ConfigurationError, match="CDP_KEYS"):
        open_target("tape:1")


@pytest.mark.parametrize("fault", ["garbles", "lies", "gone", "refuses"])
@pytest.mark.parametrize("new", ["vault", "awskms"])
def test_a_new_root_that_fails_or_lies_changes_nothing(services: World, new: str, fault: str) -> None:
    before, server = services.rows(), services.servers[new]
    match fault:
        case "garbles":
            server.garble = lambda made: made[:-1] + bytes([made[-1] ^ 1])
        case "lies":
            server.lie = lambda held: bytes(len(held))
        case "gone":
            server.errors.extend([(503, {"errors": [], "__type": "ThrottlingException"})] * 1000)
        case "refuses":
            server.errors.extend([(200, {})] * 3 + [(403, {"__type": "AccessDeniedException"})] * 9)
    with pytest.raises(KeyAccessError):
        services.move("file", new)
    assert services.rows() == before
    server.garble = server.lie = None
    server.errors.clear()
    assert services.opens_under() == {"file"}
    services.move("file", new)
    assert services.opens_under() == {new}


def test_a_new_root_that_keeps_nothing_is_noticed(world: World) -> None:
    """Two providers of one place must agree: a root that lives in one process's memory is none."""
    with pytest.raises(KeyAccessError):
        prepare(world.keyring(), open_target(world.specs["other"]), open_provider(world.specs["file"]))
    assert world.opens_under() == {"file"}


def test_a_key_made_or_destroyed_meanwhile_is_never_left_under_the_old_root(world: World) -> None:
    ring = world.keyring()
    prepared = prepare(ring, open_target(world.specs["other"]), open_provider(world.specs["other"]))
    world.rotation(ring).begin("key:1")
    with pytest.raises(ConflictError, match="meanwhile"):
        prepared.put_in_place()
    assert world.opens_under() == {"file"}
    prepared = prepare(ring, open_target(world.specs["other"]), open_provider(world.specs["other"]))
    with world.store.writing() as connection, connection.begin():
        connection.execute(update(keks).where(keks.c.version == 1).values(wrapped=b"", destroyed_at=1))
    with pytest.raises(ConflictError, match="meanwhile"):
        prepared.put_in_place()
    world.move("file", "other")
    assert world.opens_under() == {"other"}


def test_a_process_under_the_old_root_goes_on_but_wraps_no_kek(world: World) -> None:
    ring = world.keyring()
    rotation = world.rotation(ring)
    world.move("file", "other")
    ring.create([1])
    assert not rotation.advance()
    assert "CDP_KEYS" in rotation.status().problem
    with pytest.raises(KeyAccessError, match="CDP_KEYS"):
        rotation.begin("key:1")
    assert list(world.keyring("other").deks([1])) == [1]
    assert world.opens_under() == {"other"}


def test_a_move_between_the_look_and_the_new_kek_is_noticed(world: World) -> None:
    ring = world.keyring()

    def moved(*_: object) -> None:
        world.move("file", "other")

    with pytest.raises(ConflictError, match="another root"):
        Rotation(ring, moved, world.clock, 30).begin("key:1")
    assert world.opens_under() == {"other"}


def test_a_secret_of_a_later_version_is_made_under_the_root_of_all_others(world: World) -> None:
    """`cdp init` with the old CDP_KEYS, after a move and an upgrade."""
    world.move("file", "other")
    with world.store.writing() as connection, connection.begin():
        connection.execute(insert(secrets).values(name="new", wrapped=b""))
    with pytest.raises(KeyAccessError, match="CDP_KEYS"):
        Keyring.initialise(world.store, open_provider(world.specs["file"]), "test", world.clock)
    Keyring.initialise(world.store, open_provider(world.specs["other"]), "test", world.clock)
    assert world.opens_under() == {"other"}


KILLED = """
import os, signal, sys
from cdp.clock import FixedClock
from cdp.crypto import Keyring, open_provider, open_target, prepare
from cdp.crypto import provider, queries, move
from cdp.store import Store
url, old, new, owner, name, calls = sys.argv[1:]
place = {"wrap": provider.FileKeyProvider, "secret": queries, "complete": move.Prepared}[owner]
ring = Keyring(Store(url), open_provider(old), "test", FixedClock(0))
left, held = [int(calls)], getattr(place, name)
def dying(*arguments):
    done = held(*arguments)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
setattr(place, name, dying)
prepare(ring, open_target(new), open_provider(new)).put_in_place()
"""


@pytest.mark.parametrize(
    ("owner", "name", "calls"),
    [
        ("wrap", "wrap", 5),
        ("secret", "move_secret", 6),
        ("complete", "_is_complete", 1),
    ],
)
def test_killed_anywhere_it_opens_under_a_root_and_can_be_moved(
    world: World, owner: str, name: str, calls: int
) -> None:
    """Up to the last moment before the commit, the transaction's own statements included."""
    before = world.rows()
    place = [world.url, world.specs["file"], world.specs["other"]]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *place, owner, name, str(calls)], check=False, env=dict(os.environ)
    )
    assert ended.returncode == -signal.SIGKILL
    assert world.opens_under() == {"file"}
    assert world.rows() == before
    world.move("file", "other")
    assert world.opens_under() == {"other"}
