"""Rotation of the KEK: on line, resumable, and final."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Connection, delete, select, update

from cdp.clock import DAY, FixedClock
from cdp.crypto import FileKeyProvider, Keyring, Place, Rotation, open_sealed, seal
from cdp.crypto import rotate as rotate_module
from cdp.crypto.kek import Keks, WrappedKey
from cdp.crypto.tables import bucket_keys, deks, keks
from cdp.errors import ConflictError, KeyAccessError
from cdp.store import Store

PREFIX = Place("test", "identifiers", "value").prefix()
BACKUP_DAYS = 30


class World(NamedTuple):
    """A key database, its root, a clock, and what was recorded."""

    store: Store
    provider: FileKeyProvider
    clock: FixedClock
    recorded: list[tuple[str, str, dict[str, int]]]

    def keyring(self) -> Keyring:
        """Open it as another process would: with nothing in memory."""
        return Keyring(self.store, self.provider, "test", self.clock)

    def rotation(self, ring: Keyring) -> Rotation:
        return Rotation(ring, lambda *entry: self.recorded.append(entry), self.clock, BACKUP_DAYS)

    def states(self) -> list[str]:
        return [version.state for version in self.rotation(self.keyring()).status().versions]

    def versions(self) -> set[int]:
        """Return the KEK versions that live keys lie under."""
        with self.store.reading() as connection:
            found: set[int] = set()
            for table in (deks, bucket_keys):
                found.update(
                    connection.execute(
                        select(table.c.kek_version).where(table.c.wrapped.is_not(None))
                    ).scalars()
                )
            return found

    def change(self, work: Callable[[Connection], object]) -> None:
        with self.store.writing() as connection, connection.begin():
            work(connection)


@pytest.fixture
def world(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(rotate_module, "_PAGE", 10)
    store = Store(database_url)
    provider = FileKeyProvider.create(tmp_path / "root.key")
    clock = FixedClock(1_000 * DAY)
    Keyring.initialise(store, provider, "test", clock)
    yield World(store, provider, clock, [])
    store.close()


def finish(rotation: Rotation) -> None:
    while rotation.advance():
        pass


def test_rotation_rewraps_everything_and_all_still_opens(world: World) -> None:
    ring = world.keyring()
    ring.create(range(1, 36))
    bucket = ring.bucket("quarantine/2026-01-31")
    sealed = {no: seal(dek, PREFIX, b"r", no, b"v%d" % no) for no, dek in ring.deks(range(1, 36)).items()}
    proofs, secret = ring.proof_secrets(range(1, 36)), ring.secret("index")
    rotation = world.rotation(ring)
    assert rotation.begin("key:1") == 2
    assert world.states() == ["rewrapping", "current"]
    finish(rotation)
    assert world.states() == ["retired", "current"]
    assert world.versions() == {2}
    again = world.keyring()
    for no, dek in again.deks(range(1, 36)).items():
        assert open_sealed(dek, PREFIX, b"r", no, sealed[no]) == b"v%d" % no
    assert again.proof_secrets(range(1, 36)) == proofs
    assert again.secret("index") == secret
    assert again.bucket("quarantine/2026-01-31").key == bucket.key
    assert world.recorded == [
        ("keys.rotate", "key:1", {"kek_version": 2}),
        ("keys.rotated", "system", {"kek_version": 1}),
    ]


def test_status_counts_what_lies_under_each_version(world: World) -> None:
    ring = world.keyring()
    ring.create(range(1, 4))
    ring.destroy([3], "person")
    ring.bucket("quarantine/2026-01-31")
    rotation = world.rotation(ring)
    rotation.begin("key:1")
    ring.create([4])
    old, new = rotation.status().versions
    assert (old.state, old.deks, old.buckets) == ("rewrapping", {"person": 2, "proof": 3}, 1)
    assert (new.state, new.deks, new.buckets) == ("current", {"person": 1, "proof": 1}, 0)
    assert rotation.status().problem == ""
    assert rotation.status().current == 2


def test_status_names_a_lost_kek_and_what_lies_under_it(world: World) -> None:
    ring = world.keyring()
    ring.create([1, 2])
    ring.bucket("quarantine/2026-01-31")
    world.rotation(ring).begin("key:1")
    assert world.rotation(ring).status().lost == {}
    world.change(lambda c: c.execute(delete(keks).where(keks.c.version == 1)))
    assert world.rotation(world.keyring()).status().lost == {1: 5}
    assert world.states() == ["current"]


def test_status_says_when_the_root_does_not_answer(world: World) -> None:
    ring = world.keyring()
    world.provider.__init__(FileKeyProvider.create(world.provider.path.with_name("other")).path)  # type: ignore[misc]  # another root in its place
    assert "key file" in world.rotation(ring).status().problem


def test_a_killed_rotation_is_taken_over_and_ends(world: World) -> None:
    ring = world.keyring()
    ring.create(range(1, 40))
    killed = world.rotation(ring)
    killed.begin("key:1")
    assert killed._page(1)
    assert killed._page(1)
    assert world.versions() == {1, 2}
    heir = world.rotation(world.keyring())
    assert heir.advance()  # the other one may still be at it
    assert world.versions() == {1, 2}
    world.clock.advance(31_000_000)
    finish(heir)
    assert world.versions() == {2}
    assert not killed.advance()
    assert len(world.keyring().deks(range(1, 40))) == 39


def test_a_second_rotation_waits_for_the_first(world: World) -> None:
    ring = world.keyring()
    ring.create([1])
    rotation = world.rotation(ring)
    rotation.begin("key:1")
    with pytest.raises(ConflictError, match="under way"):
        world.rotation(world.keyring()).begin("key:2")
    finish(rotation)
    assert rotation.begin("key:1") == 3
    finish(rotation)
    assert world.states() == ["retired", "retired", "current"]


def test_of_two_that_begin_at_once_one_does(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = world.rotation(world.keyring()), world.rotation(world.keyring())
    wrap = FileKeyProvider.wrap
    raced: list[int] = []

    def meanwhile(provider: FileKeyProvider, secret: bytes, context: bytes) -> bytes:
        if not raced:
            raced.append(0)
            raced.append(second.begin("key:2"))
        return wrap(provider, secret, context)

    monkeypatch.setattr(FileKeyProvider, "wrap", meanwhile)
    with pytest.raises(ConflictError, match="just begun"):
        first.begin("key:1")
    assert raced == [0, 2]
    assert world.states() == ["rewrapping", "current"]


def test_nothing_changes_when_the_root_does_not_wrap(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise KeyAccessError("throttled")

    monkeypatch.setattr(FileKeyProvider, "wrap", refuse)
    with pytest.raises(KeyAccessError, match="throttled"):
        world.rotation(world.keyring()).begin("key:1")
    assert world.states() == ["current"]
    assert world.recorded == []


def test_other_processes_learn_of_it_when_they_need_it(world: World) -> None:
    mine, theirs = world.keyring(), world.keyring()
    mine.create([1])
    rotation = world.rotation(mine)
    rotation.begin("key:1")
    theirs.create([2])  # it knew of version 1 only, and wraps under 2
    theirs_bucket = theirs.bucket("quarantine/2026-01-31")
    finish(rotation)
    assert world.versions() == {2}
    assert set(theirs.deks([1, 2])) == {1, 2}
    other = world.keyring()
    assert other.bucket("quarantine/2026-01-31").key == theirs_bucket.key
    reader = world.keyring()
    third = world.rotation(world.keyring())
    third.begin("key:1")
    finish(third)
    assert set(reader.deks([1, 2])) == {1, 2}  # rows under a version that it had never seen


def test_an_old_version_dies_after_the_backups_and_everything_opens(world: World) -> None:
    ring = world.keyring()
    ring.create(range(1, 5))
    keys = {no: dek.key for no, dek in ring.deks(range(1, 5)).items()}
    rotation = world.rotation(ring)
    rotation.begin("key:1")
    finish(rotation)
    world.clock.advance(BACKUP_DAYS * DAY - 1)
    finish(rotation)
    assert world.states() == ["retired", "current"]
    world.clock.advance(1)
    finish(rotation)
    assert world.states() == ["destroyed", "current"]
    assert world.recorded[-1] == ("keys.destroy", "system", {"kek_version": 1})
    with world.store.reading() as connection:
        marker = connection.execute(select(keks).where(keks.c.version == 1)).one()
    assert marker.wrapped == b""
    assert {no: dek.key for no, dek in world.keyring().deks(range(1, 5)).items()} == keys
    count = len(world.recorded)
    finish(rotation)
    assert len(world.recorded) == count  # once


def test_a_backup_under_a_destroyed_kek_does_not_open(tmp_path: Path) -> None:
    """The rows of an old backup, beside the KEKs of today: what `erased` has to mean after N days."""
    store, clock = Store(f"sqlite:///{tmp_path / 'keys.sqlite'}"), FixedClock(0)
    provider = FileKeyProvider.create(tmp_path / "root.key")
    Keyring.initialise(store, provider, "test", clock)
    ring = Keyring(store, provider, "test", clock)
    ring.create([1, 2])
    store.close()
    shutil.copy(tmp_path / "keys.sqlite", tmp_path / "backup.sqlite")
    ring.destroy([1])
    rotation = Rotation(ring, lambda *_: None, clock, BACKUP_DAYS)
    rotation.begin("key:1")
    finish(rotation)
    clock.advance(BACKUP_DAYS * DAY)
    finish(rotation)
    backup = Store(f"sqlite:///{tmp_path / 'backup.sqlite'}")
    with backup.reading() as connection:
        old = connection.execute(select(deks)).all()
    backup.close()
    with store.writing() as connection, connection.begin():
        for row in old:
            values = {"dek_id": row.dek_id, "kek_version": row.kek_version, "wrapped": row.wrapped}
            connection.execute(
                update(deks)
                .where(deks.c.identity_no == row.identity_no, deks.c.domain == row.domain)
                .values(**values, commitment=row.commitment)
            )
    with pytest.raises(KeyAccessError, match="KEK version 1 is gone"):
        Keyring(store, provider, "test", clock).deks([1])
    store.close()


def test_a_version_that_something_lies_under_is_not_destroyed(world: World) -> None:
    ring = world.keyring()
    ring.create([1])
    rotation = world.rotation(ring)
    rotation.begin("key:1")
    finish(rotation)
    world.change(lambda c: c.execute(update(deks).where(deks.c.domain == "proof").values(kek_version=1)))
    world.clock.advance(BACKUP_DAYS * DAY)
    with pytest.raises(KeyAccessError, match="not destroyed"):
        rotation.advance()
    assert world.states() == ["retired", "current"]


def test_a_key_destroyed_while_its_page_is_rewrapped_stays_destroyed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = world.keyring()
    ring.create([1, 2])
    rotation = world.rotation(ring)
    rotation.begin("key:1")
    rewrapped = Keks.rewrapped

    def meanwhile(keks: Keks, rows: Sequence[WrappedKey], version: int) -> list[bytes]:
        ring.destroy([1])
        return rewrapped(keks, rows, version)

    monkeypatch.setattr(Keks, "rewrapped", meanwhile)
    finish(rotation)
    assert set(world.keyring().deks([1, 2])) == {2}
    assert world.versions() == {2}


def test_a_key_that_does_not_open_keeps_its_kek_and_harms_no_other(world: World) -> None:
    ring = world.keyring()
    ring.create([1, 2, 3])
    broken = (deks.c.identity_no == 2) & (deks.c.domain == "person")
    with world.store.reading() as connection:
        kept = connection.execute(select(deks.c.wrapped).where(broken)).scalar_one()
    world.change(lambda c: c.execute(update(deks).where(broken).values(wrapped=bytes(60))))
    rotation = world.rotation(ring)
    rotation.begin("key:1")
    with pytest.raises(KeyAccessError, match="1 keys do not open and stay under KEK version 1"):
        finish(rotation)
    assert world.states() == ["rewrapping", "current"]
    assert set(world.keyring().deks([1, 3])) == {1, 3}
    assert rotation.advance()  # an hour's rest
    world.change(lambda c: c.execute(update(deks).where(broken).values(wrapped=kept)))
    world.clock.advance(DAY)
    finish(rotation)
    assert world.states() == ["retired", "current"]
    assert set(world.keyring().deks([1, 2, 3])) == {1, 2, 3}


def test_rotation_beside_writers_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers make and use keys through two rotations: everything opens, nothing is left behind."""
    monkeypatch.setattr(rotate_module, "_PAGE", 200)
    rings = [world.keyring() for _ in range(3)]
    sealed: dict[int, bytes] = {}
    failures: list[BaseException] = []
    ending = threading.Event()

    def write(which: int) -> None:
        number = which * 1_000_000
        try:
            while not ending.wait(0.005):
                mine = range(number + 1, number + 6)
                number += 5
                rings[which].create(list(mine))
                for no, dek in rings[which].deks(mine).items():
                    sealed[no] = seal(dek, PREFIX, b"r", no, b"%d" % no)
        except BaseException as error:  # noqa: BLE001  # shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=write, args=(which,)) for which in range(3)]
    for thread in threads:
        thread.start()
    try:
        while len(sealed) < 30 and not failures:  # else the first rotation may end before the first key
            time.sleep(0.005)
        rotation = world.rotation(world.keyring())
        for version in (2, 3):
            assert rotation.begin("key:1") == version
            finish(rotation)
            assert min(world.versions()) == version  # no straggler, although the writers never stopped
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert world.versions() == {3}
    found = world.keyring().deks(sealed)
    assert len(found) == len(sealed) > 0
    for no, envelope in sealed.items():
        assert open_sealed(found[no], PREFIX, b"r", no, envelope) == b"%d" % no


def test_a_process_that_was_held_up_does_not_write_over_its_heir(world: World) -> None:
    ring = world.keyring()
    ring.create(range(1, 40))
    slow = world.rotation(ring)
    slow.begin("key:1")
    assert slow._page(1)
    world.clock.advance(31_000_000)
    assert world.rotation(world.keyring())._page(1)
    with pytest.raises(ConflictError, match="taken over"):
        slow._page(1)
