"""Who is erased is in no file, whoever noticed it and whatever died on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from population import Population, catalogue, profiles, rule

from cdp.errors import UnavailableError
from cdp.warehouse import Mirror, Warehouse
from cdp.warehouse.model import Manifest

FIELDS = catalogue(properties=[rule("sku")], traits=[rule("country")])
SQL = "SELECT DISTINCT identity_no AS profile_no FROM {}"
LEFT = [1, 2, 4, 5, 6]


@pytest.fixture
def people(database_url: str) -> Iterator[Population]:
    population = Population(database_url)
    for start in (1, 4):
        with population.committer.batch() as batch:
            for number in range(start, start + 3):
                population.event(batch, number, "A", {"sku": f"bought by {number}"})
                population.trait(batch, number, "country", f"country of {number}")
                population.link(batch, [number])
    yield population
    population.close()


@pytest.fixture
def mirror(people: Population, tmp_path: Path) -> Mirror:
    return mirror_of(people, tmp_path)


def mirror_of(people: Population, home: Path) -> Mirror:
    return Mirror(people.store, home, FIELDS, people.clock)


def in_files(home: Path) -> set[int]:
    """Return every identity in any Parquet file that lies there, whoever lists it."""
    found: set[int] = set()
    for path in home.glob("*.parquet"):
        found.update(pq.read_table(path, columns=["identity_no"])["identity_no"].to_pylist())
    return found


def seen(warehouse: Warehouse, dataset: str = "events") -> list[int]:
    return profiles(warehouse.snapshot(), SQL.format(dataset))


def test_nothing_of_the_forgotten_is_left_in_any_file(
    people: Population, mirror: Mirror, tmp_path: Path
) -> None:
    mirror.refresh()
    with people.committer.batch() as batch:
        people.event(batch, 3, "B")
    mirror.refresh()
    mirror.compact()  # what it replaced still lies there, for readers
    people.erase(3, index=False)
    mirror.forget([3])
    assert in_files(tmp_path) == set(LEFT)
    assert b"bought by 3" not in b"".join(path.read_bytes() for path in tmp_path.glob("*.parquet"))
    warehouse = Warehouse(tmp_path)
    assert seen(warehouse) == seen(warehouse, "traits") == sorted(warehouse.snapshot().everyone) == LEFT
    warehouse.close()
    assert mirror.refresh() == 4


def test_a_file_of_nobody_else_goes_and_all_may_be_forgotten(
    people: Population, mirror: Mirror, tmp_path: Path
) -> None:
    mirror.refresh()
    mirror.forget(range(1, 7))
    assert in_files(tmp_path) == set()
    with people.committer.batch() as batch:
        people.event(batch, 8, "A")
    mirror.refresh()
    assert in_files(tmp_path) == {8}


@pytest.mark.parametrize("nobody", [[], [99]])
def test_to_forget_nobody_changes_no_file(mirror: Mirror, tmp_path: Path, nobody: Iterable[int]) -> None:
    mirror.forget(nobody)
    mirror.refresh()
    before = mirror.directory.read().files
    mirror.forget(nobody)
    assert mirror.directory.read().files == before
    assert in_files(tmp_path) == {1, 2, 3, 4, 5, 6}


def test_a_snapshot_of_before_fails_cleanly_and_the_next_answers(
    people: Population, mirror: Mirror, tmp_path: Path
) -> None:
    mirror.refresh()
    warehouse = Warehouse(tmp_path)
    old = warehouse.snapshot()
    assert profiles(old, SQL.format("events")) == [1, 2, 3, 4, 5, 6]
    people.erase(3)
    mirror.forget([3])
    with pytest.raises(UnavailableError):
        profiles(old, SQL.format("events"))
    assert seen(warehouse) == LEFT
    warehouse.close()


def test_readers_meanwhile_see_all_of_somebody_or_nothing(
    people: Population, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp.warehouse.mirror._TURN_SECONDS", 0.0)  # one file a turn
    mirror.refresh()
    with people.committer.batch() as batch:
        people.event(batch, 3, "B")
    mirror.refresh()
    wrong: list[object] = []
    counts: set[int] = set()
    warehouse = Warehouse(tmp_path)
    stop = threading.Event()
    count = "SELECT count(*) AS profile_no FROM events WHERE identity_no = 3"

    def read() -> None:
        while not stop.is_set():
            try:
                counts.update(profiles(warehouse.snapshot(), count))
            except UnavailableError:
                continue  # its snapshot was from before: it asks again
            except Exception as error:  # noqa: BLE001  # a thread's failure must reach the test
                wrong.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    while not counts:
        pass
    people.erase(3)
    mirror.forget([3])
    stop.set()
    reader.join()
    counts.update(profiles(warehouse.snapshot(), count))
    assert wrong == []
    assert counts == {0, 2}
    warehouse.close()


def test_another_process_notices_by_itself(people: Population, mirror: Mirror, tmp_path: Path) -> None:
    """A mirror beside the server is told nothing: the store says that somebody was erased, and who is not."""
    mirror.refresh()
    people.erase(3)
    assert mirror_of(people, tmp_path).refresh() == 3
    assert in_files(tmp_path) == set(LEFT)
    people.erase(5, 6)
    mirror.refresh()
    assert in_files(tmp_path) == {1, 2, 4}


def test_who_was_erased_before_the_mirror_was_made_is_not_in_it(
    people: Population, mirror: Mirror, tmp_path: Path
) -> None:
    """So while an erasure is under way: its rows are deleted after it bound."""
    with people.committer.batch() as batch:
        batch.erase([3])
    mirror.refresh()
    assert in_files(tmp_path) == set(LEFT)
    mirror.rebuild()
    assert in_files(tmp_path) == set(LEFT)


@pytest.mark.parametrize("last", range(1, 5))
def test_what_died_on_the_way_is_finished_by_whoever_comes_next(
    people: Population, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    monkeypatch.setattr("cdp.warehouse.mirror._TURN_SECONDS", 0.0)
    mirror.refresh()
    publish = mirror.directory.publish
    published = 0

    def dying(manifest: Manifest) -> None:
        nonlocal published
        publish(manifest)
        published += 1
        if published == last:
            raise KeyboardInterrupt

    monkeypatch.setattr(mirror.directory, "publish", dying)
    people.erase(3, index=False)
    with pytest.raises(KeyboardInterrupt):
        mirror.forget([3])
    with people.committer.batch() as batch:  # still in the store's eyes: nothing of theirs gets in meanwhile
        people.event(batch, 3, "B")
        people.event(batch, 7, "B")
    other = mirror_of(people, tmp_path)
    other.refresh()
    assert in_files(tmp_path) == {*LEFT, 7}
    assert {path.name for path in tmp_path.glob("*.parquet")} == other.directory.read().own()


def test_neither_rebuild_nor_refresh_of_others_brings_anybody_back(
    people: Population, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp.warehouse.mirror._TURN_SECONDS", 0.0)
    mirror.refresh()
    wrong: list[object] = []
    stop = threading.Event()

    def again(verb: str) -> None:
        try:
            other = mirror_of(people, tmp_path)
            while not stop.is_set():
                getattr(other, verb)()
        except Exception as error:  # noqa: BLE001  # a thread's failure must reach the test
            wrong.append(error)

    others = [threading.Thread(target=again, args=[verb]) for verb in ("rebuild", "refresh", "compact")]
    for thread in others:
        thread.start()
    for number in (3, 5):
        people.erase(number, index=False)
        mirror.forget([number])
        assert number not in in_sound_files(mirror)
    stop.set()
    for thread in others:
        thread.join()
    assert wrong == []
    assert in_files(tmp_path) == {1, 2, 4, 6}


def in_sound_files(mirror: Mirror) -> set[int]:
    """Return the identities in what readers see, while others work on the files."""
    warehouse = Warehouse(mirror.directory.path)
    found = seen(warehouse)
    warehouse.close()
    return set(found)


def test_a_rebuild_under_way_forgets_too(
    people: Population, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp.warehouse.mirror._TURN_SECONDS", 0.0)
    monkeypatch.setattr("cdp.warehouse.mirror._SLICE_COMMITS", 1)
    mirror = mirror_of(people, tmp_path)
    mirror.refresh()
    publish = mirror.directory.publish

    def dying(manifest: Manifest) -> None:
        publish(manifest)
        if manifest.rebuild is not None and manifest.rebuild.commit_no == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(mirror.directory, "publish", dying)
    with pytest.raises(KeyboardInterrupt):
        mirror.rebuild()
    half = mirror.directory.read().rebuild
    assert half is not None
    assert half.files["events"][1].rows == 3
    people.erase(3, index=False)
    other = mirror_of(people, tmp_path)
    other.forget([3])
    assert in_files(tmp_path) == set(LEFT)
    assert other.refresh() == 3
    assert other.directory.read().rebuild is None
    assert in_files(tmp_path) == set(LEFT)
