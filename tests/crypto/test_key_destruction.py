"""Destroyed keys stay destroyed, in every process at once; buckets end with their retention."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import select

from cdp.clock import DAY, SECOND, FixedClock, parse_rfc3339
from cdp.crypto import Dek, Domain, FileKeyProvider, Keyring
from cdp.crypto.kek import AlteredKeyError
from cdp.crypto.tables import bucket_keys, deks
from cdp.errors import KeyAccessError
from cdp.store import Committer, Store, read_head, retrying
from cdp.store.migrate import upgrade

HOUR = 3600 * SECOND


class World(NamedTuple):
    """The main database with its commit order, and the key database."""

    store: Store
    keys: Store
    provider: FileKeyProvider
    clock: FixedClock
    committer: Committer

    def keyring(self) -> Keyring:
        """Open it as another process would: with nothing in memory."""
        return Keyring(self.keys, self.provider, "test", self.clock)

    def erase(self, ring: Keyring, number: int) -> None:
        """Erase as the rights stage will: the key first, then the batch that tells everybody."""
        with self.committer.batch() as batch:
            ring.destroy([number])
            batch.erase()


@pytest.fixture
def world(database_url: str, keys_url: str, tmp_path: Path) -> Iterator[World]:
    store, keys = Store(database_url), Store(keys_url)
    upgrade(store)
    clock = FixedClock(parse_rfc3339("2026-03-01T12:00:00Z"))
    provider = FileKeyProvider.create(tmp_path / "root.key")
    Keyring.initialise(keys, provider, "test", clock)
    committer = Committer(store, lambda _connection, _commit_no, _now, entries: [0] * len(entries), clock)
    yield World(store, keys, provider, clock, committer)
    store.close()
    keys.close()


def test_a_destroyed_key_is_gone_and_cannot_be_made_again(world: World) -> None:
    ring = world.keyring()
    ring.create([1, 2])
    ring.destroy([1])
    ring.destroy([1])
    assert set(ring.deks([1, 2])) == {2}
    for again in (ring, world.keyring()):
        again.create([1, 2])
        assert set(again.deks([1, 2])) == {2}
        assert set(again.deks([1, 2], "proof")) == {1, 2}
        assert set(again.pseudonym_secrets([1, 2])) == {2}
    with world.keys.reading() as connection:
        row = connection.execute(select(deks).where(deks.c.identity_no == 1, deks.c.domain == "person")).one()
    assert (row.wrapped, row.dek_id, row.commitment) == (None, b"", b"")


def test_a_key_that_never_was_cannot_be_made_either(world: World) -> None:
    ring = world.keyring()
    ring.destroy(range(1, 8000))
    ring.create([1, 7999, 8000])
    assert set(ring.deks([1, 7999, 8000])) == {8000}
    assert set(ring.deks([1], "proof")) == {1}


def test_an_erasure_empties_every_process(world: World) -> None:
    mine, theirs = world.keyring(), world.keyring()
    mine.create([1, 2])
    assert set(theirs.deks([1, 2])) == {1, 2}
    world.erase(mine, 1)
    assert set(mine.deks([1, 2])) == {2}  # at once, where it happened
    with world.committer.batch() as batch:
        assert theirs.observe_epoch(batch.epoch)
        assert set(theirs.deks([1, 2])) == {2}


def test_a_batch_that_began_before_an_erasure_does_not_commit_after_it(world: World) -> None:
    mine, theirs = world.keyring(), world.keyring()
    mine.create([1])
    erasure = threading.Thread(target=lambda: world.erase(mine, 1))
    seen: list[set[int]] = []

    def work() -> None:
        with world.committer.batch() as batch:
            theirs.observe_epoch(batch.epoch)
            seen.append(set(theirs.deks([1])))
            if len(seen) == 1:
                erasure.start()
                erasure.join(0.2 if world.store.single_writer else None)

    retrying(work)
    erasure.join()
    retrying(work)
    if world.store.single_writer:  # the erasure waited for the batch that held the database
        assert seen == [{1}, set()]
    else:  # the batch lost, and ran again without the key
        assert seen == [{1}, set(), set()]
    with world.store.reading() as connection:
        assert read_head(connection) == (3, 1)


def test_a_batch_that_does_not_commit_moves_nothing(world: World) -> None:
    ring = world.keyring()
    ring.create([1])

    def fail() -> None:
        with world.committer.batch() as batch:
            batch.erase()
            raise KeyAccessError("no")

    with pytest.raises(KeyAccessError):
        fail()
    with world.store.reading() as connection:
        assert read_head(connection) == (0, 0)


def test_what_another_thread_read_before_is_not_kept_after(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = world.keyring()
    world.keyring().create([1])
    read = ring._read

    def meanwhile(numbers: Sequence[int], domain: Domain) -> tuple[dict[int, Dek], AlteredKeyError | None]:
        found = read(numbers, domain)
        ring.destroy([1])
        return found

    monkeypatch.setattr(ring, "_read", meanwhile)
    ring.deks([1])
    monkeypatch.undo()
    assert ring.deks([1]) == {}


# -- buckets ---------------------------------------------------------------------------------------


def test_buckets_end_with_their_retention(world: World) -> None:
    ring = world.keyring()
    names = ["quarantine/2026-01-28", "quarantine/2026-01-29", "quarantine/2026-01-30"]
    world.clock.advance(-60 * DAY)
    for name in names:
        ring.bucket(name)
    ring.bucket("outbox/7")
    world.clock.advance(60 * DAY)
    assert ring.oldest("quarantine") == "quarantine/2026-01-30"
    ended = ring.ended_buckets()
    assert ended == names[:2]
    ring.destroy_buckets(ended)
    assert ring.ended_buckets() == []
    for name in ended:
        with pytest.raises(KeyAccessError, match="destroyed when its retention ended"):
            world.keyring().bucket(name)
    for name in (names[2], "outbox/7"):
        assert len(world.keyring().bucket(name).key) == 32


def test_a_bucket_past_its_retention_gets_no_key_at_all(world: World) -> None:
    with pytest.raises(KeyAccessError, match="has ended"):
        world.keyring().bucket("quarantine/2026-01-29")
    with world.keys.reading() as connection:
        assert connection.execute(select(bucket_keys)).all() == []
    world.keyring().bucket("quarantine/2026-03-01")


def test_a_bucket_is_destroyed_by_name_when_its_use_is_over(world: World) -> None:
    ring = world.keyring()
    ring.bucket("outbox/7")
    ring.destroy_buckets(["outbox/7", "outbox/8"])
    ring.destroy_buckets(["outbox/7"])
    for name in ("outbox/7", "outbox/8"):  # also one that had no key yet
        with pytest.raises(KeyAccessError, match="destroyed"):
            world.keyring().bucket(name)
