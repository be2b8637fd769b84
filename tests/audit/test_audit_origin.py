"""A log that fell behind its own checkpoint: it signs nothing until an officer opens a new origin."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import cdp.audit
import cdp.store
from cdp.audit import AuditLog, Entry, Report, open_checkpoint, parse_verifier
from cdp.clock import SECOND, FixedClock
from cdp.crypto import FileKeyProvider, Keyring, verify_signature
from cdp.errors import AuditError, ConflictError
from cdp.store import Committer, Store
from cdp.store.metadata import metadata

ORIGIN = "cdp.example/audit"


class World(NamedTuple):
    """A log that a backup put back: 5 entries are left of the 9 that were signed outside."""

    store: Store
    log: AuditLog
    committer: Committer
    file: Path

    def fill(self, count: int, actor: str = "key:1") -> None:
        for _ in range(count):
            with self.committer.batch() as batch:
                batch.record(Entry(action="profile.lookup", actor=actor))

    def verify(self) -> Report:
        with self.store.reading() as connection:
            return self.log.verify(connection)


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[World]:
    """SQLite alone: what differs between the databases is not touched, and a copied file is a restore."""
    database = tmp_path / "cdp.sqlite"
    clock = FixedClock(SECOND)
    keys = Store(f"sqlite:///{tmp_path / 'keys.sqlite'}")
    provider = FileKeyProvider.create(tmp_path / "root.key")
    Keyring.initialise(keys, provider, "test", clock)
    keyring = Keyring(keys, provider, "test", clock)
    file = tmp_path / "checkpoint"

    def opened() -> World:
        store = Store(f"sqlite:///{database}")
        log = AuditLog(keyring, ORIGIN, clock, file)
        return World(store, log, Committer(store, log.append, clock), file)

    world = opened()
    with world.store.writing() as connection, connection.begin():
        metadata.create_all(connection)
        cdp.store.initialise(connection)
        cdp.audit.initialise(connection)
    world.fill(4)
    world.log.sign_checkpoint(world.committer)
    world.fill(1)
    world.store.close()
    shutil.copy(database, tmp_path / "backup")
    world = opened()
    world.fill(4, "key:2")
    world.log.sign_checkpoint(world.committer)
    world.store.close()
    for path in tmp_path.glob("cdp.sqlite*"):
        path.unlink()
    shutil.copy(tmp_path / "backup", database)
    world = opened()
    yield world
    world.store.close()
    keys.close()


def test_a_log_behind_its_checkpoint_signs_nothing(behind: World) -> None:
    for more in (0, 1, 10):
        behind.fill(more)
        with pytest.raises(AuditError, match="open-origin"):
            behind.log.sign_checkpoint(behind.committer)
    assert not behind.verify().ok


def test_the_new_origin_names_what_was_lost(behind: World) -> None:
    note = behind.file.read_text()
    behind.fill(1)
    opened = behind.log.open_origin(behind.committer, "key:7", "restored_backup")
    assert opened.size == 7
    assert behind.file.read_text() == opened.note
    verifier = parse_verifier(behind.log.verifier_text(opened))
    said = open_checkpoint(opened.note, verifier, verify_signature)
    assert (said.origin, said.size) == (f"{ORIGIN}/2", 7)
    with behind.store.reading() as connection:
        (entry,) = behind.log.search(connection, cdp.audit.AuditFilter(action="audit.origin"))
    assert entry.index == 6
    assert (entry.actor, entry.object["reason"]) == ("key:7", "restored_backup")
    assert (entry.object["closed_origin"], entry.object["closed_size"]) == (ORIGIN, 9)
    assert str(entry.object["closed_signature"]) in note
    behind.fill(5)
    assert behind.log.sign_checkpoint(behind.committer).size == 12
    assert behind.verify().problems == ()
    assert behind.verify().signed == 12


def test_an_origin_is_opened_once_and_only_where_it_is_needed(behind: World) -> None:
    lost = behind.file.read_text()
    behind.log.open_origin(behind.committer, "key:7", "restored_backup")
    with pytest.raises(ConflictError, match="needs no new origin"):
        behind.log.open_origin(behind.committer, "key:7", "restored_backup")
    with pytest.raises(ConflictError, match="closed already"):
        behind.log.open_origin(behind.committer, "key:7", "restored_backup", lost)
    behind.file.unlink()
    with pytest.raises(ConflictError, match="no checkpoint to name"):
        behind.log.open_origin(behind.committer, "key:7", "restored_backup")
    with pytest.raises(AuditError):
        behind.log.open_origin(behind.committer, "key:7", "restored_backup", lost.replace("9", "8"))


def test_a_pinned_checkpoint_that_was_named_is_no_problem_and_another_one_is(behind: World) -> None:
    lost = behind.file.read_text()
    behind.log.open_origin(behind.committer, "key:7", "restored_backup")
    behind.file.write_text(lost)  # the regulator's copy, put beside the log again
    assert behind.verify().problems == ()
    behind.fill(10)
    assert behind.verify().problems == ()  # now the log is longer than what was lost
    assert behind.log.sign_checkpoint(behind.committer).size == 16
    assert behind.file.read_text() != lost


def test_an_origin_cannot_hide_a_second_fork(behind: World, tmp_path: Path) -> None:
    """Two checkpoints of the old origin contradict the log, and only one of them was named."""
    first = behind.file.read_text()
    backup = tmp_path / "cdp.sqlite"
    assert backup.is_file()
    behind.file.unlink()
    behind.fill(1)  # the log goes on unpinned, and signs what contradicts `first`
    behind.log.sign_checkpoint(behind.committer)
    behind.fill(6)
    behind.log.sign_checkpoint(behind.committer)
    behind.file.write_text(first)
    behind.fill(1)
    with pytest.raises(AuditError, match="open-origin"):
        behind.log.sign_checkpoint(behind.committer)
    assert not behind.verify().ok
    behind.log.open_origin(behind.committer, "key:7", "restored_backup")
    assert behind.verify().ok  # the fork is named; the checkpoints signed meanwhile are of the log as it is
