"""Several writers of the store, several mirrors of one directory, and a mirror that is killed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from population import Population, catalogue, profiles, rule

import cdp
from cdp.store import Committer, Store
from cdp.warehouse import Mirror, Warehouse

FIELDS = catalogue(properties=[rule("revenue", "number")])
SQL = "SELECT DISTINCT identity_no AS profile_no FROM events"
LOOP = """
import sys
from pathlib import Path
from cdp.clock import SystemClock
from cdp.policy import FieldCatalogue
from cdp.store import Store
from cdp.warehouse import Mirror
nothing = FieldCatalogue(traits={}, properties={}, context={}, identifiers={})
mirror = Mirror(Store(sys.argv[1]), Path(sys.argv[2]), nothing, SystemClock())
while True:
    print("working", flush=True)
    mirror.refresh()
    mirror.compact()
    mirror.rebuild()
"""


@pytest.fixture
def people(database_url: str) -> Iterator[Population]:
    population = Population(database_url)
    yield population
    population.close()


def seen(warehouse: Warehouse) -> list[int]:
    return profiles(warehouse.snapshot(), SQL)


def add(people: Population, *numbers: int) -> None:
    with people.committer.batch() as batch:
        for number in numbers:
            people.event(batch, number, "A")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer
def test_commits_in_the_other_order_than_begun_lose_nothing(
    people: Population, database_url: str, tmp_path: Path
) -> None:
    """The transaction that wrote first commits last; the mirror refreshes in between."""
    mirror = Mirror(people.store, tmp_path, FIELDS, people.clock)
    warehouse = Warehouse(tmp_path)
    other = Committer(Store(database_url), lambda _c, _n, _now, _entries: [], people.clock)
    with people.committer.batch() as first:
        people.event(first, 1, "A")
        with other.batch() as second:
            people.event(second, 2, "A")
        assert second.commit_no == 1
        assert mirror.refresh() == 1
        assert seen(warehouse) == [2]
    assert first.commit_no == 2
    assert mirror.refresh() == 2
    assert seen(warehouse) == [1, 2]
    warehouse.close()
    other.store.close()


def test_mirrors_of_one_directory_take_turns(people: Population, tmp_path: Path) -> None:
    mirrors = [Mirror(people.store, tmp_path, FIELDS, people.clock) for _ in range(3)]
    warehouse = Warehouse(tmp_path)
    for number in range(1, 6):
        add(people, number)
        threads = [threading.Thread(target=mirror.refresh) for mirror in mirrors]
        threads.append(threading.Thread(target=mirrors[number % 3].compact))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert warehouse.snapshot().commit_no == number
        assert seen(warehouse) == list(range(1, number + 1))
    assert profiles(warehouse.snapshot(), "SELECT count(*) AS profile_no FROM events") == [5]
    warehouse.close()


def test_readers_are_not_cut_off_by_merges(people: Population, tmp_path: Path) -> None:
    mirror = Mirror(people.store, tmp_path, FIELDS, people.clock)
    warehouse = Warehouse(tmp_path)
    add(people, 1)
    mirror.refresh()
    add(people, 2)
    mirror.refresh()
    old = warehouse.snapshot()
    mirror.compact()
    add(people, 3)
    mirror.refresh()
    assert profiles(old, SQL) == [1, 2]
    assert old.commit_no == 2
    assert seen(warehouse) == [1, 2, 3]
    warehouse.close()


def test_many_readers_while_the_mirror_works(people: Population, tmp_path: Path) -> None:
    mirror = Mirror(people.store, tmp_path, FIELDS, people.clock)
    add(people, 1)
    mirror.refresh()
    warehouse = Warehouse(tmp_path)
    wrong: list[object] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                snapshot = warehouse.snapshot()
                found = profiles(snapshot, SQL)
                if found != list(range(1, snapshot.commit_no + 1)):
                    wrong.append(found)
        except Exception as error:  # noqa: BLE001  # a thread's failure must reach the test
            wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(2, 30):
        add(people, number)
        mirror.refresh()
        if number % 7 == 0:
            mirror.compact()
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    schemas = profiles(warehouse.snapshot(), "SELECT count(*) AS profile_no FROM duckdb_schemas()")
    assert schemas[0] < 20  # generations that nobody uses are dropped
    warehouse.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # the files are what is killed
def test_a_killed_mirror_leaves_nothing_wrong(people: Population, database_url: str, tmp_path: Path) -> None:
    home = tmp_path / "warehouse"
    root = str(Path(cdp.__file__).parents[1])
    for turn in range(1, 4):
        for number in range(10):
            add(people, turn * 10 + number)
        with subprocess.Popen(
            [sys.executable, "-c", LOOP, database_url, str(home)], stdout=subprocess.PIPE, cwd=root
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"working\n"
            time.sleep(0.013 * turn)
            process.kill()
        mirror = Mirror(people.store, home, FIELDS, people.clock)
        assert mirror.refresh() == turn * 10
        warehouse = Warehouse(home)
        assert seen(warehouse) == list(range(10, turn * 10 + 10))
        warehouse.close()
        manifest = mirror.directory.read()
        assert {path.name for path in home.iterdir()} == manifest.own() | {"manifest.json", "lock"}
